// Where a Redis or Valkey server is, and how it is talked to.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace falaj {

struct RedisOptions {
  std::string host;
  uint16_t port = 6379;
  uint32_t database = 0;
  std::string user;  // empty: the server's default one
  std::string password;
  std::chrono::milliseconds read_timeout{100};      // of a look-up, connecting included
  std::chrono::milliseconds write_timeout{10'000};  // of each round trip of anything else
  bool tls = false;
  std::string ca;           // PEM: who may issue the server's certificate; empty: whom this machine trusts
  std::string certificate;  // PEM, with `key`: to show the server; empty: none
  std::string key;          // PEM
};

}  // namespace falaj
