// A file as a client makes it for shared memory, in a folder of the test's own.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "core/file_descriptor.h"

namespace falaj::wire::test {

class SharedFile {
 public:
  SharedFile(std::string folder, const std::string& name, size_t bytes)
      : path_(std::move(folder) + "/" + name),
        file_(open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    Resize(bytes);
  }
  ~SharedFile() { unlink(path_.c_str()); }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  const std::string& path() const { return path_; }
  int fd() const { return file_.get(); }
  void Resize(size_t bytes) { fine_ = ftruncate(fd(), static_cast<off_t>(bytes)) == 0 && fine_; }
  void Write(const std::string& text, size_t at) {
    const auto wrote = pwrite(fd(), text.data(), text.size(), static_cast<off_t>(at));
    fine_ = wrote == static_cast<ssize_t>(text.size()) && fine_;
  }
  std::string Read(size_t bytes, size_t at) {
    std::string text(bytes, '\0');
    fine_ = pread(fd(), text.data(), bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes) && fine_;
    return text;
  }
  bool fine() const { return fine_; }  // no call has failed

 private:
  const std::string path_;
  FileDescriptor file_;
  bool fine_ = true;
};

// Removed with all that is in it.
class SharedFolder {
 public:
  SharedFolder() {
    std::string name = testing::TempDir() + "/falaj_shared_XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~SharedFolder() { std::filesystem::remove_all(path_); }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace falaj::wire::test
