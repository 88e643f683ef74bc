//! What each exported function needs: it catches panics, checks handles, and reads and writes the caller's memory.

#![expect(unsafe_code, reason = "reads and writes memory of the caller in C")]

use crate::fork;
use crate::status::{Failure, Status, report};
use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

/// Largest size of a structure that a caller may pass: a larger number is no structure of this library.
const MAX_STRUCTURE: usize = 4096;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Runs the body of a function that returns a status.
pub(crate) fn call(body: impl FnOnce() -> Outcome) -> Status {
    match caught(body) {
        Ok(()) => Status::Ok,
        Err(failure) => report(failure),
    }
}

/// Runs the body of a function that returns a value, which is `neutral` when it fails.
pub(crate) fn value<T>(neutral: T, body: impl FnOnce() -> Outcome<T>) -> T {
    caught(body).unwrap_or_else(|failure| {
        report(failure);
        neutral
    })
}

fn caught<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    // What a panic leaves half-done is behind a lock, which is poisoned then.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(Failure::new(Status::Internal, words(&*panic))))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    format!("error in libshm2, please report it: {text}")
}

/// What C has a pointer to.
pub(crate) trait Handle {
    /// Name of the argument in the header.
    const NAME: &'static str;

    /// [`fork::depth`] when it was made.
    fn fork_depth(&self) -> u32;
}

/// The handle behind a pointer of the caller: not `NULL`, and made by this process.
pub(crate) fn known<T: Handle>(handle: Option<&T>) -> Outcome<&T> {
    let handle = handle.ok_or_else(|| null(T::NAME))?;
    if handle.fork_depth() == fork::depth() {
        return Ok(handle);
    }
    let text = format!("{} was inherited from the parent process: free it, and open a new one", T::NAME);
    Err(Failure::new(Status::Forked, text))
}

/// The content of a handle that one thread uses at a time.
pub(crate) fn exclusive<'a, T>(content: &'a Mutex<T>, name: &str) -> Outcome<MutexGuard<'a, T>> {
    content.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            let text = format!("another thread is in a call for this {name}: use one thread at a time");
            Failure::new(Status::InUse, text)
        }
        TryLockError::Poisoned(_) => {
            Failure::new(Status::Internal, format!("an earlier call for this {name} failed inside libshm2: free it"))
        }
    })
}

fn null(name: &str) -> Failure {
    Failure::invalid(format!("{name} is NULL"))
}

/// Where a result is stored; `None` for `NULL`.
pub(crate) type Place<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// The memory for a result that the caller needs.
pub(crate) fn result<'a, T>(memory: Place<'a, T>, name: &str) -> Outcome<&'a mut MaybeUninit<T>> {
    memory.ok_or_else(|| null(name))
}

/// The memory for a handle, which is `NULL` until the function succeeds.
pub(crate) fn handle<'a, T>(memory: Place<'a, *mut T>, name: &str) -> Outcome<&'a mut MaybeUninit<*mut T>> {
    let memory = result(memory, name)?;
    memory.write(std::ptr::null_mut());
    Ok(memory)
}

/// A new handle for C.
pub(crate) fn give<T>(memory: &mut MaybeUninit<*mut T>, content: T) {
    memory.write(Box::into_raw(Box::new(content)));
}

/// A text of the caller.
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The bytes before the zero byte.
    pub(crate) fn bytes(&self, name: &str) -> Outcome<&[u8]> {
        if self.is_null() {
            return Err(null(name));
        }
        // SAFETY: not null; the caller passes a text that ends with a zero byte and does not change during the call.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }

    pub(crate) fn str(&self, name: &str) -> Outcome<&str> {
        let bytes = self.bytes(name)?;
        let text = || Failure::invalid(format!("{name} is {:?}, which is not UTF-8", String::from_utf8_lossy(bytes)));
        std::str::from_utf8(bytes).map_err(|_| text())
    }
}

/// Bytes of the caller that are read.
#[repr(transparent)]
pub struct Bytes(*const c_void);

impl Bytes {
    /// `NULL` stands for no bytes if `size` is 0.
    pub(crate) fn slice(&self, size: usize, name: &str) -> Outcome<&[u8]> {
        check_size(self.0, size, name)?;
        if size == 0 {
            return Ok(&[]);
        }
        // SAFETY: not null; the caller passes memory of this size that does not change during the call.
        Ok(unsafe { std::slice::from_raw_parts(self.0.cast(), size) })
    }
}

/// Memory of the caller that is written.
#[repr(transparent)]
pub struct Buffer(*mut c_void);

impl Buffer {
    /// `NULL` stands for no bytes if `size` is 0.
    pub(crate) fn slice(&mut self, size: usize, name: &str) -> Outcome<&mut [u8]> {
        check_size(self.0, size, name)?;
        if size == 0 {
            return Ok(&mut []);
        }
        // SAFETY: not null; the caller passes memory of this size that nothing else uses during the call. Its bytes
        // count as initialised: they come from another language, so no uninitialised value of Rust is among them.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0.cast(), size) })
    }
}

fn check_size(memory: *const c_void, size: usize, name: &str) -> Outcome {
    if isize::try_from(size).is_err() {
        return Err(Failure::invalid(format!("{name} has {size} bytes, which is more than an address space")));
    }
    if memory.is_null() && size > 0 {
        return Err(Failure::invalid(format!("{name} is NULL, with a size of {size}")));
    }
    Ok(())
}

/// A structure of the caller that is filled. Its size may be that of another version of the header.
#[repr(transparent)]
pub struct Structure<T>(*mut T);

impl<T: Copy> Structure<T> {
    /// Fails where [`fill`](Self::fill) would.
    pub(crate) fn check(&self, size: usize, name: &str) -> Outcome {
        if self.0.is_null() {
            return Err(null(name));
        }
        if size == 0 || size > MAX_STRUCTURE {
            return Err(Failure::invalid(format!("the size of {name} is {size}: pass sizeof *{name}")));
        }
        Ok(())
    }

    /// Writes the members that the caller knows; those that this version does not know become zero.
    pub(crate) fn fill(&mut self, size: usize, content: &T, name: &str) -> Outcome {
        self.check(size, name)?;
        let known = size.min(size_of::<T>());
        let from: *const u8 = std::ptr::from_ref(content).cast();
        let to: *mut u8 = self.0.cast();
        // SAFETY: not null; the caller passes memory of `size` bytes that nothing else uses during the call. `known` is
        // at most the size of `content`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, to, known);
            to.add(known).write_bytes(0, size - known);
        }
        Ok(())
    }
}

/// One of the values of an enumeration, by its number.
pub(crate) fn chosen<T: Copy>(number: u32, values: &[T], name: &str) -> Outcome<T> {
    let text = || format!("{name} is {number}, which is none of its values 0 to {}", values.len() - 1);
    values.get(number as usize).copied().ok_or_else(|| Failure::invalid(text()))
}

/// A time limit: `None` for no limit.
pub(crate) fn limit(timeout_ns: i64) -> Option<Duration> {
    u64::try_from(timeout_ns).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::shm2_last_error;

    fn last_error() -> String {
        // SAFETY: the text is valid until the next call that fails.
        unsafe { CStr::from_ptr(shm2_last_error()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn a_panic_becomes_a_status_and_does_not_leave_the_function() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let status = call(|| panic!("the number {} is odd", 7));
        std::panic::set_hook(before);
        assert_eq!(status, Status::Internal);
        assert_eq!(last_error(), "error in libshm2, please report it: the number 7 is odd");
    }

    #[test]
    fn a_lock_that_a_panic_poisoned_is_an_internal_error() {
        let lock = Mutex::new(1);
        assert_eq!(*exclusive(&lock, "thing").unwrap(), 1);
        let held = exclusive(&lock, "thing").unwrap();
        assert_eq!(exclusive(&lock, "thing").unwrap_err().status, Status::InUse);
        drop(held);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _held = lock.lock();
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(thread.join().is_err());
        });
        assert_eq!(exclusive(&lock, "thing").unwrap_err().status, Status::Internal);
    }

    #[test]
    fn structures_of_older_and_newer_headers_are_filled() {
        let mut memory = [9u32; 4];
        let mut structure = Structure::<[u32; 2]>(memory.as_mut_ptr().cast());
        structure.fill(4, &[1, 2], "x").unwrap();
        assert_eq!(memory, [1, 9, 9, 9]);
        structure.fill(12, &[3, 4], "x").unwrap();
        assert_eq!(memory, [3, 4, 0, 9]);
        assert_eq!(structure.fill(0, &[3, 4], "x").unwrap_err().status, Status::Invalid);
    }
}
