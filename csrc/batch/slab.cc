#include "batch/slab.h"

#include <algorithm>

namespace falaj {
namespace {

constexpr size_t kColumnAlignment = 64;

bool HasFixedRow(const TensorSpec& spec) {
  return spec.type != DataType::kBytes && !spec.shape.empty() && spec.shape.size() <= Shape::kMaxRank &&
         std::all_of(spec.shape.begin() + 1, spec.shape.end(), [](int64_t d) { return d >= 0; });
}

// Appends one column; false where its size overflows.
bool AddColumn(const TensorSpec& spec, int64_t rows, size_t& bytes,
               std::vector<SlabLayout::Column>& columns) {
  SlabLayout::Column column{spec.type, {}, 0, bytes};
  if (rows > 0 && HasFixedRow(spec)) {
    column.row = Shape(std::span<const int64_t>(spec.shape).subspan(1));
    const auto elements = column.row.Elements();
    if (!elements) return false;
    const auto row_bytes = CheckedMultiply(static_cast<size_t>(*elements), ElementSize(spec.type));
    const auto total = row_bytes ? CheckedMultiply(*row_bytes, static_cast<size_t>(rows)) : std::nullopt;
    if (!total || *total > SIZE_MAX / 4) return false;
    column.row_bytes = *row_bytes;
    bytes += (*total + kColumnAlignment - 1) / kColumnAlignment * kColumnAlignment;
    if (bytes > SIZE_MAX / 4) return false;
  }
  columns.push_back(column);
  return true;
}

size_t GatheredBytes(const Slab& slab) {
  size_t bytes = 0;
  for (const Buffer& buffer : slab.gathered) bytes += buffer.capacity();
  return bytes;
}

void FreeGathered(Slab& slab) {
  for (Buffer& buffer : slab.gathered) buffer.Free();
}

}  // namespace

Result<SlabLayout> SlabLayout::Make(std::span<const TensorSpec> inputs, std::span<const TensorSpec> outputs,
                                    int64_t rows) {
  SlabLayout layout;
  layout.rows = rows;
  bool fits = true;
  for (const TensorSpec& spec : inputs) fits = fits && AddColumn(spec, rows, layout.bytes, layout.inputs);
  for (const TensorSpec& spec : outputs) fits = fits && AddColumn(spec, rows, layout.bytes, layout.outputs);
  if (!fits) return InvalidInput("a batch of " + std::to_string(rows) + " rows is too large to address");
  layout.all_inputs_fixed =
      rows > 0 && std::all_of(layout.inputs.begin(), layout.inputs.end(),
                              [](const Column& column) { return column.row_bytes > 0; });
  return layout;
}

TensorView Slab::View(const SlabLayout::Column& column, int64_t first_row, int64_t rows) const {
  TensorView view;
  view.type = column.type;
  std::array<int64_t, Shape::kMaxRank> dims{};
  dims[0] = rows;
  for (size_t i = 0; i < column.row.rank(); ++i) dims[i + 1] = column.row[i];
  view.shape = Shape(std::span<const int64_t>(dims.data(), column.row.rank() + 1));
  view.data = memory_.data() + column.offset + static_cast<size_t>(first_row) * column.row_bytes;
  return view;
}

void Slab::OnLastUnref() { pool_->Return(this); }

SlabPool::SlabPool(SlabLayout layout, SlabLimits limits)
    : layout_(std::move(layout)),
      limits_(limits),
      keep_free_(std::max(limits.keep_free, limits.keep_bytes / std::max<size_t>(1, layout_.bytes))) {
  // Constructed once here, so that handing slabs out and back later never grows a vector.
  all_.reserve(limits_.max_slabs);
  free_.reserve(limits_.max_slabs);
}

Result<RefPtr<Slab>> SlabPool::Get(Need need) {
  MutexLock lock(mu_);
  if (need == Need::kMay && all_.size() - free_.size() >= limits_.max_slabs) {
    return Unavailable("all batch memory is in use");
  }
  if (free_.empty()) {
    all_.push_back(std::make_unique<Slab>(this, &layout_));
    free_.push_back(all_.back().get());
  }
  Slab* slab = free_.back();
  if (slab->memory_.data() == nullptr) {
    FALAJ_RETURN_IF_ERROR(slab->memory_.Reserve(layout_.bytes));
    ++with_memory_;
  }
  free_.pop_back();
  gathered_bytes_ -= GatheredBytes(*slab);
  return RefPtr<Slab>(slab);
}

void SlabPool::Return(Slab* slab) {
  slab->reserved_rows = 0;
  slab->owners.clear();
  MutexLock lock(mu_);
  if (free_.size() >= keep_free_) {
    slab->memory_.Free();
    FreeGathered(*slab);
    --with_memory_;
    free_.insert(free_.begin(), slab);  // memory-less ones are used last
    return;
  }
  free_.push_back(slab);
  gathered_bytes_ += GatheredBytes(*slab);
  // The layout does not know how large these are: as large as clients make them. Those that have not been
  // used for longest give theirs back first.
  for (size_t i = 0; gathered_bytes_ > limits_.keep_bytes; ++i) {
    gathered_bytes_ -= GatheredBytes(*free_[i]);
    FreeGathered(*free_[i]);
  }
}

size_t SlabPool::allocated_bytes() const {
  MutexLock lock(mu_);
  return with_memory_ * layout_.bytes + gathered_bytes_;
}

}  // namespace falaj
