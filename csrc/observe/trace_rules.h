// Which requests are traced: rules for all models and for some by name, an immutable table that is swapped
// whole.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "observe/trace_parent.h"

namespace falaj {

// What an operator says of one rule.
struct TraceRuleSpec {
  bool on = false;
  uint32_t rate = 1000;      // every so-manieth request is traced; at least 1
  int64_t count = -1;        // so many are traced and then none; negative: no end
  bool parent_based = true;  // where the client says whether its trace is sampled, that is followed
  bool restart = true;       // counts from the beginning, rather than go on where the rule before it was
};
struct TraceRuleSpecs {
  TraceRuleSpec all;
  std::map<std::string, TraceRuleSpec> models;  // in place of `all`
};

// Decides for the requests of one rule. Thread-safe; its numbers are exact whatever threads ask.
class TraceRule {
 public:
  // `before`: where its counts go on unless the spec says otherwise; may be null.
  TraceRule(const TraceRuleSpec& spec, const TraceRule* before);

  bool on() const { return spec_.on; }
  // `parent`: the client's; null where it sent none that could be read.
  bool Sample(const TraceParent* parent) const;
  // How many may still be traced; negative: no end.
  int64_t left() const { return counts_->left.load(std::memory_order_relaxed); }

 private:
  struct Counts {  // shared by the rules that followed each other
    std::atomic<uint64_t> seen{0};
    std::atomic<int64_t> left{-1};
  };
  bool Take() const;

  const TraceRuleSpec spec_;
  std::shared_ptr<Counts> counts_;
};

// Immutable but for what its rules count.
class TraceRules {
 public:
  TraceRules() : TraceRules(TraceRuleSpecs(), nullptr) {}
  TraceRules(const TraceRuleSpecs& specs, const TraceRules* before);

  const TraceRule& Of(std::string_view model) const {
    if (models_.empty()) return all_;
    const auto found = models_.find(model);
    return found == models_.end() ? all_ : found->second;
  }
  bool any_on() const { return any_on_; }
  const TraceRule& all() const { return all_; }
  const std::map<std::string, TraceRule, std::less<>>& models() const { return models_; }

 private:
  const TraceRule all_;
  std::map<std::string, TraceRule, std::less<>> models_;
  bool any_on_ = false;
};

}  // namespace falaj
