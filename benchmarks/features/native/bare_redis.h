// hiredis as it comes, asking what Falaj's store asks: what a look-up in Redis costs without Falaj.
#pragma once

#include <hiredis/hiredis.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace falaj {

// One thread at a time.
class BareRedis {
 public:
  // Connected to this machine's `port`; asks the hash `rows`. Ends the program where that fails.
  BareRedis(uint16_t port, std::string rows);

  // Asks for the entities in one command, and waits for the answer; returns the bytes that came.
  size_t Ask(std::span<const int64_t> ids);

 private:
  struct Free {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  std::unique_ptr<redisContext, Free> context_;
  const std::string rows_;
  std::vector<std::string> keys_;
  std::vector<const char*> arguments_;
  std::vector<size_t> sizes_;
};

}  // namespace falaj
