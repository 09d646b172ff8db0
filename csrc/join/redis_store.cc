#include "join/redis_store.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <thread>

#include "join/redis_view.h"

namespace falaj {
namespace {

using Kind = RedisReplies::Kind;

TimePoint In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

std::string Tagged(const std::string& name, uint32_t version) {
  return "falaj:{" + name + "@" + std::to_string(version) + "}:";
}

// The first 16 digits of the text's SHA-256.
std::string Digest(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), bytes.data(), &size, EVP_sha256(), nullptr);
  return HexDigits(std::span(bytes).first(8));
}

// The value of a line `name:value` of INFO.
std::string_view InfoLine(std::string_view info, std::string_view name) {
  const size_t at = info.find(name);
  if (at == std::string_view::npos) return {};
  info.remove_prefix(at + name.size());
  return info.substr(0, info.find('\r'));
}

}  // namespace

RedisKeys KeysOf(const std::string& name, uint32_t version, const std::string& definition) {
  const std::string tagged = Tagged(name, version);
  return {tagged + "view", tagged + "rows:" + Digest(definition), tagged + "turn"};
}

std::string HexDigits(std::span<const unsigned char> bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string digits;
  for (const unsigned char byte : bytes) {
    digits += kDigits[byte >> 4];
    digits += kDigits[byte & 15];
  }
  return digits;
}

Status UnexpectedReply(const std::string& what) {
  return Internal(what + ": the server's answer is not one to what it was asked");
}

Status CheckStored(const RedisReplies& replies, size_t first, const ViewSpec& spec) {
  const auto items = replies.items();
  if (items.size() < first + 3 || items[first].kind != Kind::kArray || items[first].integer != 2) {
    return UnexpectedReply(ViewName(spec));
  }
  const RedisReplies::Item &format = items[first + 1], &definition = items[first + 2];
  if (format.kind == Kind::kNil && definition.kind == Kind::kNil) {
    return NotFound(ViewName(spec) + ": was dropped from the store");
  }
  if (format.kind != Kind::kText || definition.kind != Kind::kText) return UnexpectedReply(ViewName(spec));
  if (replies.text(format) != RedisStore::kFormat) {
    return Unsupported("online store: expected format " + std::string(RedisStore::kFormat) + ", got " +
                       std::string(replies.text(format).substr(0, 20)));
  }
  return CheckDescription(replies.text(definition), spec);
}

Status Executed(const RedisReplies& replies, size_t at, const std::string& what, bool& done) {
  const auto items = replies.items();
  if (items.size() <= at) return UnexpectedReply(what);
  if (items[at].kind != Kind::kArray && items[at].kind != Kind::kNil) return UnexpectedReply(what);
  done = items[at].kind == Kind::kArray;
  return Status::Ok();
}

void SayWatch(RedisCommands& commands, const RedisKeys& keys) {
  commands.Clear();
  commands.Begin(3).Add("WATCH").Add(keys.view).Add(keys.rows);
  commands.Begin(4).Add("HMGET").Add(keys.view).Add("format").Add("definition");
}

void PauseBefore(int attempt) {
  const auto most = std::chrono::microseconds(500) * (1 << std::min(attempt, 7));
  // The clock's low digits are as good as chance.
  std::this_thread::sleep_for(most * (std::chrono::steady_clock::now().time_since_epoch().count() % 1000) /
                              1000);
}

Result<std::unique_ptr<RedisStore>> RedisStore::Open(RedisOptions options) {
  auto pool = RedisPool::Make(std::move(options));
  if (!pool.ok()) return pool.status();
  std::unique_ptr<RedisStore> store(new RedisStore(std::move(*pool)));
  FALAJ_RETURN_IF_ERROR(store->CheckEviction());
  return store;
}

// A server that evicts would lose rows without a word. One that does not tell is believed.
Status RedisStore::CheckEviction() {
  const Status asked = pool_->Ask(
      In(pool_->options().write_timeout),
      [](RedisCommands& commands) { commands.Begin(2).Add("INFO").Add("memory"); },
      [&](const RedisReplies& replies) {
        const auto items = replies.items();
        if (items.size() != 1 || items[0].kind != Kind::kText) return UnexpectedReply("online store");
        const std::string_view info = replies.text(items[0]);
        const std::string_view policy = InfoLine(info, "maxmemory_policy:");
        if (!policy.starts_with("allkeys") || InfoLine(info, "maxmemory:") == "0") return Status::Ok();
        return Unsupported("online store " + pool_->name() +
                           ": the server evicts keys, of which rows would be missing (maxmemory-policy " +
                           std::string(policy.substr(0, 40)) + "): expected noeviction or a volatile one");
      });
  return asked.message().find(": NOPERM ") == std::string::npos ? asked : Status::Ok();
}

Result<std::shared_ptr<OnlineView>> RedisStore::OpenView(const ViewSpec& spec) {
  FALAJ_RETURN_IF_ERROR(CheckSpec(spec));
  const RedisKeys keys = KeysOf(spec.name, spec.version, Describe(spec));
  FALAJ_RETURN_IF_ERROR(TryUntilDone(ViewName(spec), [&](bool& done) { return TryMake(spec, keys, done); }));
  return std::shared_ptr<OnlineView>(std::make_shared<RedisView>(pool_, keys, spec));
}

Status RedisStore::TryMake(const ViewSpec& spec, const RedisKeys& keys, bool& done) {
  const std::chrono::milliseconds timeout = pool_->options().write_timeout;
  auto lease = pool_->Take(In(timeout));
  if (!lease.ok()) return lease.status();
  RedisConnection& connection = **lease;
  const RedisReplies* replies = nullptr;
  SayWatch(connection.commands(), keys);
  FALAJ_RETURN_IF_ERROR(connection.Ask(In(timeout), replies));
  const Status stored = CheckStored(*replies, 1, spec);
  RedisCommands& commands = connection.commands();
  commands.Clear();
  if (stored.code() != Code::kNotFound) {
    commands.Begin(1).Add("UNWATCH");
    FALAJ_RETURN_IF_ERROR(connection.Ask(In(timeout), replies));
    done = true;
    return stored;
  }
  commands.Begin(1).Add("MULTI");
  commands.Begin(6)
      .Add("HSET")
      .Add(keys.view)
      .Add("format")
      .Add(kFormat)
      .Add("definition")
      .Add(Describe(spec));
  commands.Begin(3).Add("SADD").Add(kViews).Add(spec.name + "@" + std::to_string(spec.version));
  commands.Begin(1).Add("EXEC");
  FALAJ_RETURN_IF_ERROR(connection.Ask(In(timeout), replies));
  return Executed(*replies, 3, ViewName(spec), done);
}

Result<std::vector<std::pair<std::string, uint32_t>>> RedisStore::Views() {
  std::vector<std::pair<std::string, uint32_t>> views;
  const auto use = [&](const RedisReplies& replies) {
    const auto items = replies.items();
    if (items.empty() || items[0].kind != Kind::kArray) return UnexpectedReply("online store");
    for (const RedisReplies::Item& item : items.subspan(1)) {
      const std::string_view name = replies.text(item);
      const size_t at = name.rfind('@');
      uint32_t version = 0;
      const char* const end = name.data() + name.size();
      const bool named = item.kind == Kind::kText && at != std::string_view::npos;
      if (!named) return UnexpectedReply("online store");
      const auto [read, error] = std::from_chars(name.data() + at + 1, end, version);
      if (read != end || error != std::errc()) return UnexpectedReply("online store");
      views.emplace_back(name.substr(0, at), version);
    }
    return Status::Ok();
  };
  const auto say = [](RedisCommands& commands) { commands.Begin(2).Add("SMEMBERS").Add(kViews); };
  FALAJ_RETURN_IF_ERROR(pool_->Ask(In(pool_->options().write_timeout), say, use));
  std::sort(views.begin(), views.end());
  return views;
}

Status RedisStore::DropView(const std::string& name, uint32_t version) {
  return TryUntilDone("view " + name + "@" + std::to_string(version),
                      [&](bool& done) { return TryDrop(name, version, done); });
}

Status RedisStore::TryDrop(const std::string& name, uint32_t version, bool& done) {
  const std::string what = "view " + name + "@" + std::to_string(version);
  const std::chrono::milliseconds timeout = pool_->options().write_timeout;
  auto lease = pool_->Take(In(timeout));
  if (!lease.ok()) return lease.status();
  RedisConnection& connection = **lease;
  RedisCommands& commands = connection.commands();
  const RedisReplies* replies = nullptr;
  const std::string view = KeysOf(name, version, "").view;
  commands.Clear();
  commands.Begin(2).Add("WATCH").Add(view);
  commands.Begin(3).Add("HGET").Add(view).Add("definition");
  FALAJ_RETURN_IF_ERROR(connection.Ask(In(timeout), replies));
  if (replies->items().size() != 2) return UnexpectedReply(what);
  const RedisReplies::Item definition = replies->items()[1];
  const bool there = definition.kind == Kind::kText;
  const RedisKeys keys = KeysOf(name, version, std::string(replies->text(definition)));
  commands.Clear();
  if (!there) {
    commands.Begin(1).Add("UNWATCH");
    FALAJ_RETURN_IF_ERROR(connection.Ask(In(timeout), replies));
    return NotFound(what + " is not in the store");
  }
  commands.Begin(1).Add("MULTI");
  commands.Begin(3).Add("UNLINK").Add(keys.view).Add(keys.rows);
  commands.Begin(3).Add("SREM").Add(kViews).Add(name + "@" + std::to_string(version));
  commands.Begin(1).Add("EXEC");
  FALAJ_RETURN_IF_ERROR(connection.Ask(In(timeout), replies));
  return Executed(*replies, 3, what, done);
}

}  // namespace falaj
