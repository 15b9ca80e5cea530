#include "swift_jobs.h"

typedef __attribute__((swiftcall)) void enqueue_function(void *job);
typedef __attribute__((swiftcall)) void enqueue_hook(void *job, enqueue_function *original);

// As the runtime's headers declare it, with opaque types.
extern enqueue_hook *swift_task_enqueueGlobal_hook;

static void (*run_job)(void *job);

__attribute__((swiftcall)) static void enqueue(void *job, enqueue_function *original) {
  (void)original;
  run_job(job);
}

void swift_jobs_run_with(void (*run)(void *job)) {
  run_job = run;
  swift_task_enqueueGlobal_hook = enqueue;
}
