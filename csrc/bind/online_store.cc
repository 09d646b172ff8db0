#include "bind/online_store.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <deque>

#include "bind/arrays.h"
#include "bind/errors.h"
#include "bind/fork_guard.h"
#include "join/lmdb_store.h"
#include "join/redis_store.h"
#include "join/window_entity.h"

namespace falaj {
namespace {

using Named = std::vector<std::pair<std::string, std::string>>;
using Nulls = std::vector<std::optional<py::array>>;

// Arrays as columns. Made and destroyed with the GIL; read without it.
class HeldColumns {
 public:
  explicit HeldColumns(size_t rows) : rows_(rows) {}

  void Add(const py::array& given, const std::string& where, const py::array* nulls = nullptr) {
    const auto type = FromNumpyType(given.dtype());
    CheckShape(given, where);
    if (!type) ThrowIfError(InvalidInput(where + ": unexpected NumPy type"));
    const uint8_t* mask = nulls == nullptr ? nullptr : Raw<bool, uint8_t>(*nulls, where + ": nulls");
    ColumnData column{*type, nullptr, mask};
    if (*type == DataType::kBytes) {
      column.data = reinterpret_cast<const std::byte*>(Texts(given, mask, where));
    } else {
      owners_.push_back(py::array::ensure(given, py::array::c_style));
      column.data = static_cast<const std::byte*>(py::array(owners_.back()).data());
    }
    columns_.push_back(column);
  }

  // The elements of a one-dimensional array of T, as Out.
  template <typename T, typename Out = T>
  const Out* Raw(const py::array& given, const std::string& where) {
    CheckShape(given, where);
    if (!given.dtype().equal(py::dtype::of<T>())) {
      ThrowIfError(InvalidInput(where + ": expected NumPy type " +
                                py::str(py::dtype::of<T>()).template cast<std::string>() + ", got " +
                                py::str(given.dtype()).template cast<std::string>()));
    }
    owners_.push_back(py::array::ensure(given, py::array::c_style));
    return static_cast<const Out*>(py::array(owners_.back()).data());
  }

  size_t rows() const { return rows_; }
  std::span<const ColumnData> columns() const { return columns_; }

 private:
  void CheckShape(const py::array& given, const std::string& where) const {
    if (given.ndim() == 1 && static_cast<size_t>(given.shape(0)) == rows_) return;
    ThrowIfError(InvalidInput(where + ": expected one dimension of " + std::to_string(rows_) + " rows"));
  }

  // Of a copy, which keeps the strings whatever becomes of the caller's array meanwhile.
  const std::string_view* Texts(const py::array& given, const uint8_t* nulls, const std::string& where) {
    const py::array objects = given.attr("astype")("O", py::arg("order") = "C", py::arg("copy") = true);
    auto* const* items = static_cast<PyObject* const*>(objects.data());
    std::vector<std::string_view>& texts = texts_.emplace_back(rows_);
    for (size_t i = 0; i < rows_; ++i) {
      if (nulls != nullptr && nulls[i] != 0) continue;
      Py_ssize_t length = 0;
      const char* characters =
          PyUnicode_Check(items[i]) ? PyUnicode_AsUTF8AndSize(items[i], &length) : nullptr;
      if (characters == nullptr) {
        PyErr_Clear();
        ThrowIfError(InvalidInput(where + ": expected a str that UTF-8 can tell at row " + std::to_string(i) +
                                  ", got " + Py_TYPE(items[i])->tp_name));
      }
      texts[i] = {characters, static_cast<size_t>(length)};
    }
    owners_.push_back(objects);
    return texts.data();
  }

  const size_t rows_;
  std::vector<py::object> owners_;
  std::deque<std::vector<std::string_view>> texts_;
  std::vector<ColumnData> columns_;
};

std::vector<ColumnSpec> SpecsOf(const Named& named) {
  std::vector<ColumnSpec> specs;
  for (const auto& [name, datatype] : named) {
    const auto type = ParseDataType(datatype);
    if (!type) ThrowIfError(InvalidInput("column '" + name + "': no such datatype: '" + datatype + "'"));
    specs.push_back({name, *type});
  }
  return specs;
}

// The inputs, whether the last is the events' ids, and the aggregates: function by number, input or -1,
// window and tile in microseconds.
using PlainWindowed = std::tuple<Named, bool, std::vector<std::tuple<int, int, int64_t, int64_t>>>;

Windowed WindowedOf(const PlainWindowed& plain, int64_t delay) {
  const auto& [inputs, identified, aggregates] = plain;
  Windowed windowed{SpecsOf(inputs), identified, {}};
  windowed.spec.delay = delay;
  if (identified && inputs.empty()) ThrowIfError(InvalidInput("windowed: expected the events' ids as input"));
  for (size_t i = 0; i + (identified ? 1 : 0) < inputs.size(); ++i)
    windowed.spec.columns.push_back(KindOf(windowed.inputs[i].type));
  for (const auto& [function, column, window, tile] : aggregates)
    windowed.spec.aggregates.push_back({static_cast<join::Function>(function), column, window, tile});
  return windowed;
}

void AddAll(HeldColumns& held, const std::vector<py::array>& arrays, const std::vector<ColumnSpec>& specs,
            const char* what, const Nulls* nulls = nullptr) {
  for (size_t i = 0; i < arrays.size(); ++i) {
    const std::string where = std::string(what) + " '" + (i < specs.size() ? specs[i].name : "?") + "'";
    held.Add(arrays[i], where, nulls != nullptr && (*nulls)[i] ? &*(*nulls)[i] : nullptr);
  }
}

// A store may be elsewhere.
template <typename Work>
auto WithoutGil(Work work) {
  const py::gil_scoped_release release;
  return work();
}

class PyOnlineView {
 public:
  explicit PyOnlineView(std::shared_ptr<OnlineView> view) : view_(std::move(view)) {}

  size_t Write(const std::vector<py::array>& keys, const py::array& event, const py::array& known,
               const py::array& sequence, const py::array& deleted, const std::vector<py::array>& columns,
               const Nulls& nulls, int64_t now, std::optional<py::bytes> cursor) {
    OnlineView& view = Get();
    if (nulls.size() != columns.size()) {
      ThrowIfError(InvalidInput("nulls: expected one or None for each of " + std::to_string(columns.size()) +
                                " columns, got " + std::to_string(nulls.size())));
    }
    const auto rows = static_cast<size_t>(event.size());
    HeldColumns held_keys(rows), held(rows);
    AddAll(held_keys, keys, view.spec().keys, "key");
    AddAll(held, columns, view.spec().written(), "column", &nulls);
    WriteRows write;
    write.keys = held_keys.columns();
    write.event = {held.Raw<int64_t>(event, "event"), rows};
    write.known = {held.Raw<int64_t>(known, "known"), rows};
    write.sequence = {held.Raw<int64_t>(sequence, "sequence"), rows};
    write.deleted = {held.Raw<bool, uint8_t>(deleted, "deleted"), rows};
    write.columns = held.columns();
    std::optional<std::string> at;
    if (cursor) at = std::string(*cursor);
    return ValueOrThrow(WithoutGil([&] { return view.Write(write, now, at); }));
  }

  py::tuple Read(const std::vector<py::array>& keys, int64_t now) {
    OnlineView& view = Get();
    const auto rows = keys.empty() ? size_t{0} : static_cast<size_t>(keys[0].size());
    HeldColumns held(rows);
    AddAll(held, keys, view.spec().keys, "key");
    FeatureColumns found;
    ThrowIfError(WithoutGil([&] { return view.Read(held.columns(), rows, now, found); }));
    py::list columns, nulls;
    for (size_t i = 0; i < view.spec().columns.size(); ++i) {
      columns.append(Column(found, i, view.spec().columns[i].type));
      py::array_t<bool> null(static_cast<py::ssize_t>(rows));
      std::copy_n(found.nulls(i).data(), rows, reinterpret_cast<uint8_t*>(null.mutable_data()));
      nulls.append(null);
    }
    py::array_t<uint8_t> presence(static_cast<py::ssize_t>(rows));
    std::copy_n(reinterpret_cast<const uint8_t*>(found.status().data()), rows, presence.mutable_data());
    return py::make_tuple(presence, columns, nulls);
  }

  std::optional<py::bytes> Cursor() {
    OnlineView& view = Get();
    auto cursor = ValueOrThrow(WithoutGil([&] { return view.Cursor(); }));
    if (!cursor) return std::nullopt;
    return py::bytes(*cursor);
  }

  size_t Entities() {
    OnlineView& view = Get();
    return ValueOrThrow(WithoutGil([&] { return view.Entities(); }));
  }

  size_t WriteBytes() const { return Get().WriteBytes(); }

  const std::shared_ptr<OnlineView>& view() const {
    (void)Get();
    return view_.shared();
  }

 private:
  OnlineView& Get() const {
    if (!view_.usable())
      ThrowIfError(Unavailable("an online store cannot be used after fork(): open it again"));
    return *view_.get();
  }

  // None where a text is null.
  static py::array Column(const FeatureColumns& found, size_t column, DataType type) {
    const std::span<const std::byte> data = found.column(column);
    const size_t rows = found.status().size();
    py::array array(ToNumpyType(type), std::vector<py::ssize_t>{static_cast<py::ssize_t>(rows)});
    if (type != DataType::kBytes) {
      std::copy_n(data.data(), data.size(), static_cast<std::byte*>(array.mutable_data()));
      return array;
    }
    const auto* texts = reinterpret_cast<const std::string_view*>(data.data());
    auto** items = static_cast<PyObject**>(array.mutable_data());
    for (size_t i = 0; i < rows; ++i) {
      py::object text = py::none();
      if (found.nulls(column)[i] == 0) text = py::str(texts[i].data(), texts[i].size());
      Py_XSETREF(items[i], text.release().ptr());
    }
    return array;
  }

  ForkGuarded<OnlineView> view_;
};

class PyOnlineStore {
 public:
  PyOnlineStore(const std::string& path, int64_t map_bytes) {
    if (map_bytes <= 0)
      ThrowIfError(InvalidInput("map_bytes: expected above 0, got " + std::to_string(map_bytes)));
    auto store = WithoutGil([&] { return LmdbStore::Open(path, static_cast<size_t>(map_bytes)); });
    store_ = ForkGuarded<OnlineStore>(std::shared_ptr<OnlineStore>(ValueOrThrow(std::move(store))));
  }

  explicit PyOnlineStore(std::shared_ptr<OnlineStore> store) : store_(std::move(store)) {}

  static std::unique_ptr<PyOnlineStore> Redis(const std::string& host, uint16_t port, uint32_t database,
                                              const std::string& user, const std::string& password,
                                              int64_t timeout_ms, int64_t write_timeout_ms, bool tls,
                                              const std::string& ca, const std::string& certificate,
                                              const std::string& key) {
    for (const auto& [name, value] :
         {std::pair("timeout_ms", timeout_ms), {"write_timeout_ms", write_timeout_ms}}) {
      if (value > 0 && value <= kLongestMs) continue;
      ThrowIfError(InvalidInput(std::string(name) + ": expected 1 to " + std::to_string(kLongestMs) +
                                ", got " + std::to_string(value)));
    }
    RedisOptions options{host,
                         port,
                         database,
                         user,
                         password,
                         std::chrono::milliseconds(timeout_ms),
                         std::chrono::milliseconds(write_timeout_ms),
                         tls,
                         ca,
                         certificate,
                         key};
    auto store = WithoutGil([&] { return RedisStore::Open(std::move(options)); });
    return std::make_unique<PyOnlineStore>(std::shared_ptr<OnlineStore>(ValueOrThrow(std::move(store))));
  }

  std::unique_ptr<PyOnlineView> OpenView(const std::string& name, uint32_t version,
                                         const std::string& content_hash, const Named& keys,
                                         const Named& columns, int64_t delay_us,
                                         std::optional<int64_t> ttl_us,
                                         const std::optional<PlainWindowed>& windowed) {
    ViewSpec spec{name, version, content_hash, SpecsOf(keys), SpecsOf(columns), delay_us, ttl_us};
    if (windowed) spec.windowed = WindowedOf(*windowed, delay_us);
    OnlineStore& store = Get();
    return std::make_unique<PyOnlineView>(ValueOrThrow(WithoutGil([&] { return store.OpenView(spec); })));
  }

  std::vector<std::pair<std::string, uint32_t>> Views() {
    OnlineStore& store = Get();
    return ValueOrThrow(WithoutGil([&] { return store.Views(); }));
  }

  void DropView(const std::string& name, uint32_t version) {
    OnlineStore& store = Get();
    ThrowIfError(WithoutGil([&] { return store.DropView(name, version); }));
  }

 private:
  static constexpr int64_t kLongestMs = 3'600'000;

  OnlineStore& Get() const {
    if (!store_.usable())
      ThrowIfError(Unavailable("an online store cannot be used after fork(): open it again"));
    return *store_.get();
  }

  ForkGuarded<OnlineStore> store_;
};

}  // namespace

std::shared_ptr<OnlineView> OnlineViewOf(const py::handle& view) {
  return view.cast<const PyOnlineView&>().view();
}

void BindOnlineStore(py::module_& module) {
  py::class_<PyOnlineStore>(module, "OnlineStore")
      .def(py::init<const std::string&, int64_t>(), py::arg("path"), py::arg("map_bytes"))
      .def_static("redis", &PyOnlineStore::Redis, py::arg("host"), py::arg("port"), py::arg("database"),
                  py::arg("user"), py::arg("password"), py::arg("timeout_ms"), py::arg("write_timeout_ms"),
                  py::arg("tls"), py::arg("ca"), py::arg("certificate"), py::arg("key"))
      .def("open_view", &PyOnlineStore::OpenView, py::arg("name"), py::arg("version"),
           py::arg("content_hash"), py::arg("keys"), py::arg("columns"), py::arg("delay_us"),
           py::arg("ttl_us"), py::arg("windowed") = py::none())
      .def("views", &PyOnlineStore::Views)
      .def("drop_view", &PyOnlineStore::DropView, py::arg("name"), py::arg("version"));
  py::class_<PyOnlineView>(module, "OnlineView")
      .def("write", &PyOnlineView::Write, py::arg("keys"), py::arg("event"), py::arg("known"),
           py::arg("sequence"), py::arg("deleted"), py::arg("columns"), py::arg("nulls"), py::arg("now_us"),
           py::arg("cursor"))
      .def("read", &PyOnlineView::Read, py::arg("keys"), py::arg("now_us"))
      .def("cursor", &PyOnlineView::Cursor)
      .def("entities", &PyOnlineView::Entities)
      .def_property_readonly("write_bytes", &PyOnlineView::WriteBytes);
}

}  // namespace falaj
