// wire_load --protocol http|grpc --port P --path PATH --body-file FILE ...: asks a server the same again and
// again, but for the number at --vary-at, and writes one JSON object on stdout. Exit code 0: every answer was
// good; 1: some was not, or none came; 2: it could not begin.
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "arguments.h"
#include "fatal.h"
#include "load.h"
#include "load/target.h"

namespace falaj::bench {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!path.empty() && !(text << file.rdbuf())) Fatal(path + ": cannot be read, or is empty");
  return text.str();
}

load::VariedNumber VariedOf(const Arguments& arguments, const std::string& body) {
  load::VariedNumber varied;
  varied.count = static_cast<uint64_t>(arguments.Integer("vary-count", 0, 0));
  if (varied.count == 0) return varied;
  const std::string form = arguments.Text("vary-as", "int64");
  if (form != "int64" && form != "text") Fatal("--vary-as " + form + ": expected int64 or text");
  varied.as_text = form == "text";
  varied.least = arguments.Integer("vary-from", 0, 0);
  varied.at = static_cast<size_t>(arguments.Integer("vary-at", 0, 0));
  const std::string least = std::to_string(varied.least);
  const std::string most = std::to_string(varied.least + static_cast<int64_t>(varied.count) - 1);
  const size_t bytes = varied.as_text ? least.size() : sizeof(int64_t);
  if (varied.as_text && most.size() != bytes) Fatal("--vary-count: expected numbers of as many digits");
  if (body.size() < bytes || varied.at > body.size() - bytes) Fatal("--vary-at: is not in the body");
  if (arguments.Integer("streams", 1, 1) != 1) Fatal("--vary-count: expected one stream a connection");
  return varied;
}

std::shared_ptr<const load::Target> TargetOf(const Arguments& arguments) {
  load::TargetOptions target;
  const std::string protocol = arguments.Text("protocol", "http");
  if (protocol != "http" && protocol != "grpc") Fatal("--protocol " + protocol + ": expected http or grpc");
  target.protocol = protocol == "http" ? load::Protocol::kHttp : load::Protocol::kGrpc;
  target.host = arguments.Text("host", "127.0.0.1");
  target.port = static_cast<uint16_t>(arguments.Integer("port", 0, 0));
  target.path = arguments.Text("path", "/");
  target.payloads = {{{}, ReadFile(arguments.Text("body-file", ""))}};
  target.varied = VariedOf(arguments, target.payloads[0].body);
  if (target.protocol == load::Protocol::kHttp && arguments.Integer("streams", 1, 1) != 1) {
    Fatal("--streams: expected 1 with HTTP, whose connections carry one request at a time");
  }
  for (const std::string& header : arguments.All("header")) {
    const size_t colon = header.find(": ");
    if (colon == std::string::npos) Fatal("--header '" + header + "': expected 'name: value'");
    target.headers.emplace_back(header.substr(0, colon), header.substr(colon + 2));
  }
  auto made = load::Target::Make(std::move(target));
  if (!made.ok()) Fatal(made.status().message());
  return *made;
}

LoadOptions OptionsOf(const Arguments& arguments) {
  LoadOptions options;
  options.connections = static_cast<size_t>(arguments.Integer("connections", 1, 1));
  options.streams = static_cast<size_t>(arguments.Integer("streams", 1, 1));
  options.seconds = arguments.Number("seconds", 2, 0.001);
  options.warm_up = arguments.Number("warm-up", options.seconds / 5, 0);
  options.rate = arguments.Number("rate", 0, 0);
  options.length_slack = static_cast<size_t>(arguments.Integer("length-slack", 0, 0));
  options.pid = static_cast<int>(arguments.Integer("pid", 0, 0));
  return options;
}

// Printable ASCII as text of JSON.
std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char character : text) {
    if (character == '"' || character == '\\') escaped.push_back('\\');
    escaped.push_back(character);
  }
  return escaped;
}

void Print(const LoadResult& result, bool knows_server) {
  const auto requests = static_cast<double>(result.requests);
  const auto per_request = [&](double seconds) {
    return result.requests == 0 ? 0 : seconds / requests * 1e6;
  };
  std::printf("{\"requests\": %" PRIu64 ", \"answered\": %" PRIu64 ", \"errors\": %" PRIu64 ", ",
              result.requests, result.answered, result.errors);
  std::printf("\"first_error\": \"%s\", ", Escaped(result.first_error).c_str());
  std::printf("\"seconds\": %.6f, \"requests_per_second\": %.2f, \"answer_bytes\": %zu, ", result.seconds,
              requests / result.seconds, result.answer_bytes);
  std::printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f, ",
              result.latency.QuantileUs(0.5), result.latency.QuantileUs(0.99),
              result.latency.QuantileUs(0.999), result.latency.MaxUs());
  std::printf("\"late_p99_us\": %.2f, ", result.late.QuantileUs(0.99));
  if (knows_server) {
    std::printf("\"server_cpu_seconds\": %.6f, \"server_cpu_us\": %.4f, ", result.server_cpu_seconds,
                per_request(result.server_cpu_seconds));
  }
  std::printf("\"own_cpu_seconds\": %.6f, \"own_cpu_us\": %.4f}\n", result.own_cpu_seconds,
              per_request(result.own_cpu_seconds));
}

}  // namespace
}  // namespace falaj::bench

int main(int argc, char** argv) {
  using namespace falaj::bench;
  const Arguments arguments(
      argc, argv,
      {"protocol", "host", "port", "path", "body-file", "header", "connections", "streams", "vary-at",
       "vary-as", "vary-from", "vary-count", "seconds", "warm-up", "rate", "length-slack", "pid"});
  const LoadOptions options = OptionsOf(arguments);
  Load load(TargetOf(arguments), options);
  const LoadResult result = load.Run();
  Print(result, options.pid > 0);
  return result.errors == 0 && result.requests > 0 ? 0 : 1;
}
