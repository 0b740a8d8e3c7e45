#pragma once

#include "absl/functional/function_ref.h"
#include "varve/status.h"

namespace varve {

/// Lets a caller interrupt long work that it starts through an interface which knows nothing of
/// cancellation: puts a check on the calling thread, for as long as this lives. Work that may take
/// long calls Interrupted now and then and ends with its error.
class InterruptCheck {
 public:
  /// `check` must outlive this; nested ones replace each other.
  explicit InterruptCheck(absl::FunctionRef<Status()> check) : check_(check), outer_(innermost_) {
    innermost_ = this;
  }
  ~InterruptCheck() { innermost_ = outer_; }
  InterruptCheck(const InterruptCheck&) = delete;
  InterruptCheck& operator=(const InterruptCheck&) = delete;

  /// Runs the check of the calling thread; OK if there is none.
  static Status Interrupted() {
    return innermost_ == nullptr ? absl::OkStatus() : innermost_->check_();
  }

 private:
  static inline thread_local const InterruptCheck* innermost_ = nullptr;
  const absl::FunctionRef<Status()> check_;
  const InterruptCheck* const outer_;
};

}  // namespace varve
