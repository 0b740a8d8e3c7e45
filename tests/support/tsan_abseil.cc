// Tells ThreadSanitizer what the mutexes of Debian's abseil do, and its call_once. That library is
// not instrumented, and both are made of atomics that nobody sees then: everything that they guard
// would be reported. To be preloaded behind the sanitizer's runtime:
//   c++ -std=c++20 -O2 -shared -fPIC tsan_abseil.cc -o libtsan_abseil.so -Wl,--no-as-needed
//       $(pkg-config --cflags --libs absl_synchronization)
// It needs abseil itself, so that what it stands before is loaded with it.

#include <absl/base/internal/spinlock_wait.h>
#include <absl/synchronization/mutex.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

#define VARVE_TEXT_OF(text) #text
#define VARVE_TEXT(text) VARVE_TEXT_OF(text)

namespace {

// Finds the function that the one of the same name here hides. `rest` is its mangled name behind
// the namespaces.
template <typename Function>
Function Hidden(const char* rest) {
  constexpr const char kNamespace[] = VARVE_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  const std::string name = "_ZN4absl" + std::to_string(std::strlen(kNamespace)) + kNamespace + rest;
  void* const found = dlsym(RTLD_NEXT, name.c_str());
  if (found == nullptr) {
    std::fprintf(stderr, "tsan_abseil: no %s\n", name.c_str());
    std::abort();
  }
  return reinterpret_cast<Function>(found);
}

// Conditions are tested by abseil, by who waits and by who unlocks, while the mutex is locked: no
// race, but one that the next owner hears nothing of.
class IgnoreReads {
 public:
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

// Locks, by `rest`, with any arguments.
#define VARVE_LOCKS(function, rest, parameters, ...)                                    \
  void Mutex::function parameters {                                                     \
    static const auto hidden = Hidden<decltype(Call(&Mutex::function))>("5Mutex" rest); \
    {                                                                                   \
      const IgnoreReads ignore;                                                         \
      hidden(this __VA_OPT__(, ) __VA_ARGS__);                                          \
    }                                                                                   \
    __tsan_acquire(this);                                                               \
  }

namespace {
// The type of a member function as a function of its object.
template <typename Out, typename... In>
auto Call(Out (Mutex::*)(In...)) -> Out (*)(Mutex*, In...);
template <typename Out, typename... In>
auto Call(Out (CondVar::*)(In...)) -> Out (*)(CondVar*, In...);
}  // namespace

VARVE_LOCKS(Lock, "4LockEv", ())
VARVE_LOCKS(ReaderLock, "10ReaderLockEv", ())
VARVE_LOCKS(LockWhen, "8LockWhenERKNS0_9ConditionE", (const Condition& condition), condition)
VARVE_LOCKS(ReaderLockWhen, "14ReaderLockWhenERKNS0_9ConditionE", (const Condition& condition),
            condition)

#define VARVE_TRIES(function, rest)                                                     \
  bool Mutex::function() {                                                              \
    static const auto hidden = Hidden<decltype(Call(&Mutex::function))>("5Mutex" rest); \
    const bool locked = hidden(this);                                                   \
    if (locked) __tsan_acquire(this);                                                   \
    return locked;                                                                      \
  }
VARVE_TRIES(TryLock, "7TryLockEv")
VARVE_TRIES(ReaderTryLock, "13ReaderTryLockEv")

#define VARVE_UNLOCKS(function, rest)                                                   \
  void Mutex::function() {                                                              \
    static const auto hidden = Hidden<decltype(Call(&Mutex::function))>("5Mutex" rest); \
    __tsan_release(this);                                                               \
    const IgnoreReads ignore;                                                           \
    hidden(this);                                                                       \
  }
VARVE_UNLOCKS(Unlock, "6UnlockEv")
VARVE_UNLOCKS(ReaderUnlock, "12ReaderUnlockEv")

// Waits with the mutex unlocked, and returns with it locked.
#define VARVE_WAITS(out, type, function, rest, mutex, parameters, ...)        \
  out type::function parameters {                                             \
    static const auto hidden = Hidden<decltype(Call(&type::function))>(rest); \
    __tsan_release(mutex);                                                    \
    struct Locked {                                                           \
      Mutex* held;                                                            \
      ~Locked() { __tsan_acquire(held); }                                     \
    } const locked{mutex};                                                    \
    const IgnoreReads ignore;                                                 \
    return hidden(this, __VA_ARGS__);                                         \
  }
VARVE_WAITS(void, Mutex, Await, "5Mutex5AwaitERKNS0_9ConditionE", this,
            (const Condition& condition), condition)
VARVE_WAITS(bool, Mutex, AwaitWithTimeout,
            "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE", this,
            (const Condition& condition, Duration timeout), condition, timeout)
VARVE_WAITS(bool, Mutex, AwaitWithDeadline, "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE",
            this, (const Condition& condition, Time deadline), condition, deadline)
VARVE_WAITS(void, CondVar, Wait, "7CondVar4WaitEPNS0_5MutexE", mutex, (Mutex * mutex), mutex)
VARVE_WAITS(bool, CondVar, WaitWithTimeout, "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE",
            mutex, (Mutex * mutex, Duration timeout), mutex, timeout)
VARVE_WAITS(bool, CondVar, WaitWithDeadline, "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE",
            mutex, (Mutex * mutex, Time deadline), mutex, deadline)

// Who comes second to a call_once waits here for the first; the flag tells what that one did.
namespace base_internal {
uint32_t SpinLockWait(std::atomic<uint32_t>* flag, int count,
                      const SpinLockWaitTransition transitions[], SchedulingMode mode) {
  static const auto hidden = Hidden<decltype(&SpinLockWait)>(
      "13base_internal12SpinLockWaitEPSt6atomicIjEiPKNS1_22SpinLockWaitTransitionE"
      "NS1_14SchedulingModeE");
  const uint32_t out = hidden(flag, count, transitions, mode);
  __tsan_acquire(flag);
  return out;
}
}  // namespace base_internal

ABSL_NAMESPACE_END
}  // namespace absl
