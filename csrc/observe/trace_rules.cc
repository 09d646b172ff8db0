#include "observe/trace_rules.h"

namespace falaj {

TraceRule::TraceRule(const TraceRuleSpec& spec, const TraceRule* before) : spec_(spec) {
  if (before != nullptr && !spec.restart) {
    counts_ = before->counts_;
  } else {
    counts_ = std::make_shared<Counts>();
    counts_->left.store(spec.count, std::memory_order_relaxed);
  }
}

bool TraceRule::Take() const {
  int64_t left = counts_->left.load(std::memory_order_relaxed);
  while (left > 0) {
    if (counts_->left.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) return true;
  }
  return left < 0;
}

bool TraceRule::Sample(const TraceParent* parent) const {
  if (!spec_.on) return false;
  if (parent != nullptr && spec_.parent_based) return parent->sampled && Take();
  const uint64_t seen = counts_->seen.fetch_add(1, std::memory_order_relaxed) + 1;
  return seen % spec_.rate == 0 && Take();
}

TraceRules::TraceRules(const TraceRuleSpecs& specs, const TraceRules* before)
    : all_(specs.all, before == nullptr ? nullptr : &before->all_), any_on_(specs.all.on) {
  for (const auto& [name, spec] : specs.models) {
    const TraceRule* own = nullptr;
    if (before != nullptr) {
      const auto found = before->models_.find(name);
      if (found != before->models_.end()) own = &found->second;
    }
    models_.try_emplace(name, spec, own);
    any_on_ = any_on_ || spec.on;
  }
}

}  // namespace falaj
