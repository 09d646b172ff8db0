#include "protobuf_mutator.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wire/protobuf_reader.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace falaj::fuzz {
namespace {

using wire::WireType;

constexpr int kDeepest = 6;

const char* const kWords[] = {"",
                              "m",
                              "x",
                              "y",
                              "1",
                              "0",
                              "BOOL",
                              "UINT8",
                              "UINT16",
                              "UINT32",
                              "UINT64",
                              "INT8",
                              "INT16",
                              "INT32",
                              "INT64",
                              "FP16",
                              "BF16",
                              "FP32",
                              "FP64",
                              "BYTES",
                              "priority",
                              "timeout",
                              "sequence_id",
                              "triton_x",
                              "binary_data",
                              "binary_data_size",
                              "binary_data_output",
                              "classification",
                              "shared_memory_region",
                              "shared_memory_offset",
                              "shared_memory_byte_size",
                              "\xc3\xbc",
                              "\xff",
                              "\xed\xa0\x80"};

const uint64_t kNumbers[] = {0,
                             1,
                             2,
                             3,
                             4,
                             8,
                             127,
                             128,
                             255,
                             256,
                             32767,
                             32768,
                             65535,
                             65536,
                             0x7FFFFFFF,
                             0x80000000,
                             0xFFFFFFFF,
                             0x100000000,
                             INT64_MAX,
                             uint64_t{1} << 63,
                             UINT64_MAX,
                             static_cast<uint64_t>(-129),
                             static_cast<uint64_t>(-32769)};

struct Node {
  uint32_t number = 1;
  WireType type = WireType::kVarint;
  uint64_t value = 0;
  std::string bytes;         // of kBytes, where it is not taken for a message
  std::vector<Node> fields;  // where it is
  bool message = false;
};

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  // False where `bytes` are not a message.
  bool Read(std::span<const std::byte> bytes, int depth, std::vector<Node>& nodes) {
    wire::ProtobufReader reader(bytes);
    wire::ProtobufField field;
    while (reader.Next(field)) {
      Node node{field.tag >> 3, static_cast<WireType>(field.tag & 7), field.value, {}, {}, false};
      if (node.type == WireType::kBytes) {
        node.message = !field.bytes.empty() && depth < kDeepest && Read(field.bytes, depth + 1, node.fields);
        if (!node.message) {
          node.fields.clear();
          node.bytes.assign(reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size());
        }
      }
      nodes.push_back(std::move(node));
    }
    return reader.fault() == nullptr;
  }

  void Change(std::vector<Node>& nodes) {
    if (nodes.empty() || OneIn(8)) {
      nodes.insert(At(nodes), RandomNode());
      return;
    }
    Node& node = nodes[random_() % nodes.size()];
    if (node.message && !OneIn(4)) return Change(node.fields);
    switch (random_() % 7) {
      case 0:
        nodes.erase(nodes.begin() + (&node - nodes.data()));
        return;
      case 1: {
        Node copy = node;
        nodes.insert(At(nodes), std::move(copy));
        return;
      }
      case 2:
        std::swap(node, nodes[random_() % nodes.size()]);
        return;
      case 3:
        return Split(nodes, node);
      case 4:
        node.number = static_cast<uint32_t>(1 + random_() % 9);
        return;
      case 5:
        return Pack(node);
      default:
        return ChangeValue(node);
    }
  }

  std::string Write(const std::vector<Node>& nodes) {
    std::string out;
    for (const Node& node : nodes) {
      Varint(wire::TagOf(node.number, node.type), 5, out);
      if (node.type == WireType::kVarint) {
        Varint(node.value, 10, out);
      } else if (node.type == WireType::kBytes) {
        const std::string bytes = node.message ? Write(node.fields) : node.bytes;
        Varint(bytes.size(), 5, out);
        out += bytes;
      } else {
        out.append(reinterpret_cast<const char*>(&node.value), node.type == WireType::kFixed32 ? 4 : 8);
      }
    }
    return out;
  }

 private:
  bool OneIn(unsigned n) { return random_() % n == 0; }
  std::vector<Node>::iterator At(std::vector<Node>& nodes) {
    return nodes.begin() + static_cast<std::ptrdiff_t>(random_() % (nodes.size() + 1));
  }

  Node RandomNode() {
    constexpr WireType kTypes[] = {WireType::kVarint, WireType::kBytes, WireType::kBytes, WireType::kFixed32,
                                   WireType::kFixed64};
    Node node;
    node.number = static_cast<uint32_t>(1 + random_() % 9);
    node.type = kTypes[random_() % std::size(kTypes)];
    ChangeValue(node);
    return node;
  }

  void ChangeValue(Node& node) {
    if (node.type != WireType::kBytes) {
      node.value = OneIn(4) ? random_() : kNumbers[random_() % std::size(kNumbers)];
      return;
    }
    if (OneIn(4)) return Pack(node);
    if (node.message || OneIn(2)) {
      node.message = false;
      node.bytes = kWords[random_() % std::size(kWords)];
      return;
    }
    const size_t size = node.bytes.size();
    node.bytes.resize(size + 16);
    node.bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(node.bytes.data()), size, size + 16));
  }

  // A message in two parts, to be merged; or a list's packed values.
  void Split(std::vector<Node>& nodes, Node& node) {
    Node rest = node;
    if (node.message) {
      const auto half = static_cast<std::ptrdiff_t>(random_() % (node.fields.size() + 1));
      node.fields.erase(node.fields.begin() + half, node.fields.end());
      rest.fields.erase(rest.fields.begin(), rest.fields.begin() + half);
    } else if (!node.bytes.empty()) {
      const size_t half = random_() % node.bytes.size();
      node.bytes.resize(half);
      rest.bytes.erase(0, half);
    }
    nodes.insert(nodes.begin() + (&node - nodes.data()) + 1, std::move(rest));
  }

  // A packed list: of a single value, or of any numbers.
  void Pack(Node& node) {
    std::string bytes;
    for (auto count = random_() % 4; count > 0; --count) {
      if (node.type == WireType::kFixed32 || node.type == WireType::kFixed64) {
        bytes.append(reinterpret_cast<const char*>(&node.value), node.type == WireType::kFixed32 ? 4 : 8);
      } else {
        const bool single = node.type == WireType::kVarint;
        Varint(single ? node.value : kNumbers[random_() % std::size(kNumbers)], 10, bytes);
      }
    }
    node = {node.number, WireType::kBytes, 0, bytes, {}, false};
  }

  // Now and then longer than need be.
  void Varint(uint64_t value, size_t most, std::string& out) {
    const size_t least = OneIn(50) ? 1 + random_() % (most + 1) : 1;
    for (size_t written = 1; value >= 0x80 || written < least; ++written) {
      out.push_back(static_cast<char>(value | 0x80));
      value >>= 7;
    }
    out.push_back(static_cast<char>(value));
  }

  std::mt19937_64 random_;
};

}  // namespace

size_t MutateMessage(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Mutator mutator(seed);
  std::vector<Node> nodes;
  if (seed % 4 == 0 || !mutator.Read(std::as_bytes(std::span(data, size)), 0, nodes)) {
    return LLVMFuzzerMutate(data, size, most);
  }
  for (unsigned changes = 1 + seed % 3; changes > 0; --changes) mutator.Change(nodes);
  const std::string changed = mutator.Write(nodes);
  if (changed.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::memcpy(data, changed.data(), changed.size());
  return changed.size();
}

}  // namespace falaj::fuzz
