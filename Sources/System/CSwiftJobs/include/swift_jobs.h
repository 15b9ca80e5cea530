#pragma once

/// Hands every job that belongs to no executor in particular, and is due at once, to `run` from now on, in place of the
/// runtime's own pool of threads. `run` may be called on any thread. To be called once.
void swift_jobs_run_with(void (*run)(void *job));
