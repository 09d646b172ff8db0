#include "bind/http_calls.h"

#include <algorithm>

#include "bind/errors.h"
#include "bind/gil.h"
#include "bind/wire_options.h"
#include "wire/control.h"
#include "wire/http_parser.h"

namespace falaj {
namespace {

// (status, [(name, value)], body)
py::tuple ToPython(const wire::HttpAnswer& answer) {
  py::list headers;
  std::string_view lines = answer.fields;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find("\r\n"));
    const size_t colon = line.find(": ");
    headers.append(
        py::make_tuple(py::bytes(line.data(), colon), py::bytes(std::string(line.substr(colon + 2)))));
    lines.remove_prefix(line.size() + 2);
  }
  headers.append(py::make_tuple(py::bytes("content-length"), py::bytes(std::to_string(answer.body.size()))));
  return py::make_tuple(answer.status, headers, py::bytes(answer.body));
}

void Set(const py::object& future, const wire::HttpAnswer& answer) {
  if (!future.attr("done")().cast<bool>()) future.attr("set_result")(ToPython(answer));
}

}  // namespace

HttpCalls::HttpCalls(const Runtime& runtime, const py::dict& options)
    : core_(runtime.core()),
      options_(ReadWireOptions(options)),
      events_(std::make_shared<EventSink>()),
      sink_(events_),
      codec_(options_.codec) {
  if (events_->fd() < 0) ThrowIfError(Unavailable("no file descriptor is left for the event loop's wake-up"));
}

uint64_t HttpCalls::Submit(const std::string& target, const py::sequence& headers, const py::bytes& body,
                           const py::object& future) {
  if (!core_.usable()) ThrowIfError(Unavailable("this engine was made before fork(); make one in the child"));
  auto parsed = wire::ParseInferTarget(target);
  if (!parsed) ThrowIfError(NotFound("'" + target + "' is not the path of an infer request"));
  auto pending = std::make_unique<Pending>();
  pending->target = std::move(*parsed);
  pending->future = future;
  wire::Fields kept;
  for (const py::handle item : headers) {
    const auto pair = item.cast<py::sequence>();
    kept.emplace_back(std::string(py::bytes(pair[0])), std::string(py::bytes(pair[1])));
  }
  const auto find = [&](std::string_view name) -> std::optional<std::string_view> {
    for (const auto& [field, value] : kept) {
      if (wire::EqualIgnoringCase(field, name)) return value;
    }
    return std::nullopt;
  };
  const wire::InferFields fields{find("inference-header-content-length"), find("content-encoding"),
                                 find("accept-encoding"), find("x-request-id")};
  std::string padded(body);
  padded.reserve(padded.size() + wire::JsonDecoder::kPadding);
  const uint64_t tag = next_tag_++;
  const Status status = pending->infer.Start(pending->target, fields, padded, codec_,
                                             {core_->table, options_, sink_, tag, core_->clock.Now()});
  codec_.FreeMemory();
  if (!status.ok()) {
    wire::HttpAnswer answer;
    pending->infer.Fail(status, answer);
    Set(future, answer);
    return 0;
  }
  const auto batcher = pending->infer.batcher().shared_from_this();
  if (std::find(unflushed_.begin(), unflushed_.end(), batcher) == unflushed_.end()) {
    unflushed_.push_back(batcher);
  }
  pending_.emplace(tag, std::move(pending));
  return tag;
}

void HttpCalls::Flush() {
  std::vector<std::shared_ptr<Batcher>> batchers;
  batchers.swap(unflushed_);
  const GilRelease release;
  for (const auto& batcher : batchers) batcher->Flush(Batcher::RunHere::kIfShort);
}

void HttpCalls::Cancel(uint64_t tag) {
  const auto found = pending_.find(tag);
  if (found == pending_.end()) return;
  const std::unique_ptr<Pending> pending = std::move(found->second);
  pending_.erase(found);
  const GilRelease release;
  pending->infer.Cancel();
}

void HttpCalls::Drain() {
  std::vector<Request*> taken;
  events_->Take(taken);
  for (Request* raw : taken) {
    RefPtr<Request> request(raw);
    raw->Unref();  // the sink's
    const auto found = pending_.find(request->tag);
    if (found == pending_.end()) continue;  // cancelled
    const std::unique_ptr<Pending> pending = std::move(found->second);
    pending_.erase(found);
    wire::HttpAnswer answer;
    pending->infer.Finish(std::move(request), codec_, answer);
    Set(pending->future, answer);
  }
}

void BindHttpCalls(py::module_& module) {
  py::class_<HttpCalls>(module, "HttpInfer")
      .def(py::init<const Runtime&, const py::dict&>(), py::arg("runtime"), py::arg("options"))
      .def_property_readonly("fd", &HttpCalls::fd)
      .def("submit", &HttpCalls::Submit, py::arg("target"), py::arg("headers"), py::arg("body"),
           py::arg("future"))
      .def("flush", &HttpCalls::Flush)
      .def("cancel", &HttpCalls::Cancel, py::arg("tag"))
      .def("drain", &HttpCalls::Drain);
}

}  // namespace falaj
