//! `libshm2`, the library for C and C++. Its interface is described in `include/shm2.h`, which is written by hand;
//! `include/shm2.hpp` is a wrapper for C++17 above it.
//!
//! | module | content |
//! |---|---|
//! | `boundary` | what each exported function needs: panics, handles, texts, results |
//! | `status` | status numbers, and the error of the last call |
//! | `fork` | detects handles that were inherited from a parent process |
//! | `consumer_options`, `consumer` | the receiving side |
//! | `stream`, `frame`, `media` | frames, their caps, and what their bytes mean |
//! | `producer_options`, `producer`, `slot` | the sending side |
//! | `regions` | which regions there are |
//!
//! # Safety
//! The functions are called from C, so the compiler checks no caller. All of them rely on what the header says, which
//! callers keep:
//! * A handle is `NULL`, or was returned by this library and not freed since. It is therefore declared as
//!   `Option<&Handle>`, and as `Option<Box<Handle>>` where the function frees it. Both have the layout of a C pointer.
//! * A pointer to a result is `NULL` or leads to memory for it, which nothing else uses during the call.
//! * A text is `NULL` or ends with a zero byte; a buffer is `NULL` or has the size that is passed with it.
//!
//! Numbers of enumerations are checked. Handles are behind a lock, so that calls from several threads are an error and
//! no data race. No panic leaves a function.

mod boundary;
mod consumer;
mod consumer_options;
mod fork;
mod frame;
mod media;
mod producer;
mod producer_options;
mod regions;
mod slot;
mod status;
mod stream;
