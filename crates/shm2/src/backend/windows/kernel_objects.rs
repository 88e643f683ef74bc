//! System calls for events, mutexes, sections, timers, clocks and random numbers.
//!
//! # Safety
//! Names are zero-terminated and live until their call returns; handles are owned by the values that pass them; structs
//! are fully initialised.

#![expect(unsafe_code, reason = "system calls")]

use super::security::SecurityDescriptor;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::time::Duration;
use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, GetLastError, HANDLE, INVALID_HANDLE_VALUE, SetLastError};
use windows_sys::Win32::Security::Cryptography::{BCRYPT_USE_SYSTEM_PREFERRED_RNG, BCryptGenRandom};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, OpenFileMappingW, PAGE_READWRITE,
};
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;
use windows_sys::Win32::System::Threading::{
    CreateEventW, CreateMutexW, CreateWaitableTimerExW, EVENT_MODIFY_STATE, INFINITE, OpenEventW, OpenMutexW,
    ReleaseMutex, ResetEvent, SetEvent, SetWaitableTimer, TIMER_ALL_ACCESS, WaitForMultipleObjects,
};

const SYNCHRONIZE: u32 = 0x0010_0000;
/// `MUTEX_MODIFY_STATE`, for unlocking a mutex.
const MODIFY: u32 = 1;
/// `CREATE_WAITABLE_TIMER_HIGH_RESOLUTION`, Windows 10 1803 and later.
const HIGH_RESOLUTION: u32 = 2;
/// Most objects that one call can wait for.
pub(super) const MAX_WAITED: usize = 64;

/// Whether an object with this name existed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    New,
    Existed,
}

fn wide(name: &str) -> Vec<u16> {
    name.encode_utf16().chain([0]).collect()
}

fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new handle that no other code closes.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Calls a function that makes an object or opens an existing one, and returns which of both it did.
fn made(
    descriptor: Option<&SecurityDescriptor>,
    make: impl FnOnce(*const SECURITY_ATTRIBUTES) -> HANDLE,
) -> io::Result<(OwnedHandle, Made)> {
    let attributes = descriptor.map(SecurityDescriptor::attributes);
    // SAFETY: a store to a word of this thread. Without it an older error could be taken for this call's.
    unsafe { SetLastError(0) };
    let handle = make(attributes.as_ref().map_or(null(), std::ptr::from_ref));
    // SAFETY: reads the same word.
    let existed = unsafe { GetLastError() } == ERROR_ALREADY_EXISTS;
    Ok((owned(handle)?, if existed { Made::Existed } else { Made::New }))
}

/// A section whose memory is committed at once, so that a lack of memory is an error here and not at the first access.
pub(super) fn create_section(
    name: &str,
    bytes: u64,
    descriptor: &SecurityDescriptor,
) -> io::Result<(OwnedHandle, Made)> {
    let name = wide(name);
    // SAFETY: see the head of this file. Without a file handle the section is backed by memory.
    made(Some(descriptor), |attributes| unsafe {
        CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            attributes,
            PAGE_READWRITE,
            (bytes >> 32) as u32,
            bytes as u32,
            name.as_ptr(),
        )
    })
}

pub(super) fn open_section(name: &str, writable: bool) -> io::Result<OwnedHandle> {
    let access = if writable { FILE_MAP_READ | FILE_MAP_WRITE } else { FILE_MAP_READ };
    // SAFETY: see the head of this file.
    owned(unsafe { OpenFileMappingW(access, 0, wide(name).as_ptr()) })
}

/// An event that wakes one waiter and is then reset, or, if `manual`, stays set. An event without a name belongs to
/// this process alone.
pub(super) fn create_event(
    name: Option<&str>,
    manual: bool,
    descriptor: Option<&SecurityDescriptor>,
) -> io::Result<OwnedHandle> {
    let name = name.map(wide);
    let name = name.as_ref().map_or(null(), |name| name.as_ptr());
    // SAFETY: see the head of this file.
    made(descriptor, |attributes| unsafe { CreateEventW(attributes, manual.into(), 0, name) }).map(|(event, _)| event)
}

pub(super) fn open_event(name: &str) -> io::Result<OwnedHandle> {
    // SAFETY: see the head of this file.
    owned(unsafe { OpenEventW(SYNCHRONIZE | EVENT_MODIFY_STATE, 0, wide(name).as_ptr()) })
}

/// Makes a mutex, unlocked, or opens the existing one.
pub(super) fn create_mutex(name: &str, descriptor: &SecurityDescriptor) -> io::Result<OwnedHandle> {
    let name = wide(name);
    // SAFETY: see the head of this file.
    let made = made(Some(descriptor), |attributes| unsafe { CreateMutexW(attributes, 0, name.as_ptr()) });
    // The mutex of another user may be open to this one, but creating asks for all rights.
    // SAFETY: as above.
    made.map(|(mutex, _)| mutex)
        .or_else(|e| owned(unsafe { OpenMutexW(SYNCHRONIZE | MODIFY, 0, name.as_ptr()) }).map_err(|_| e))
}

pub(super) fn open_mutex(name: &str) -> io::Result<OwnedHandle> {
    // SAFETY: see the head of this file.
    owned(unsafe { OpenMutexW(SYNCHRONIZE | MODIFY, 0, wide(name).as_ptr()) })
}

pub(super) fn set(event: &OwnedHandle) {
    // SAFETY: a live handle.
    unsafe { SetEvent(event.as_raw_handle()) };
}

pub(super) fn reset(event: &OwnedHandle) {
    // SAFETY: a live handle.
    unsafe { ResetEvent(event.as_raw_handle()) };
}

/// Unlocks a mutex that this thread has locked.
pub(super) fn unlock(mutex: &OwnedHandle) {
    // SAFETY: a live handle. For a mutex of another thread the call fails and changes nothing.
    unsafe { ReleaseMutex(mutex.as_raw_handle()) };
}

/// Waits until one of the first 64 objects is signalled, and returns its index. A mutex is then locked by this thread,
/// even one that its last owner abandoned. `None` if the time is over.
pub(super) fn wait(objects: &[&OwnedHandle], timeout: Option<Duration>) -> Option<usize> {
    let handles: Vec<_> = objects.iter().take(MAX_WAITED).map(|object| object.as_raw_handle()).collect();
    // Rounded up: after a wait that is too short by less than a millisecond the caller would wait for zero, repeatedly.
    let ms = timeout.map_or(INFINITE, |t| t.as_nanos().div_ceil(1_000_000).min(u128::from(INFINITE - 1)) as u32);
    // SAFETY: as many live handles as the count says.
    let answer = unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, ms) };
    // Values from 0 stand for signalled objects, values from 0x80 for abandoned mutexes.
    let index = if answer >= 0x80 { answer.wrapping_sub(0x80) } else { answer };
    ((index as usize) < handles.len()).then_some(index as usize)
}

/// Locks the mutex for this thread if it is free.
pub(super) fn try_lock(mutex: &OwnedHandle) -> bool {
    wait(&[mutex], Some(Duration::ZERO)).is_some()
}

/// Whether another thread has locked the mutex.
pub(super) fn is_locked(mutex: &OwnedHandle) -> bool {
    let free = try_lock(mutex);
    if free {
        unlock(mutex);
    }
    !free
}

/// A timer for pauses below the system's usual 15 ms. Systems before Windows 10 1803 have no shorter pauses.
pub(super) fn create_timer() -> io::Result<OwnedHandle> {
    // SAFETY: no name and no attributes.
    let fine = owned(unsafe { CreateWaitableTimerExW(null(), null(), HIGH_RESOLUTION, TIMER_ALL_ACCESS) });
    // SAFETY: as above.
    fine.or_else(|_| owned(unsafe { CreateWaitableTimerExW(null(), null(), 0, TIMER_ALL_ACCESS) }))
}

pub(super) fn start_timer(timer: &OwnedHandle, after: Duration) {
    // A negative value is relative to now, in units of 100 ns.
    let due = -((after.as_nanos() / 100) as i64).max(1);
    // SAFETY: a live handle and a number that lives until the call returns.
    unsafe { SetWaitableTimer(timer.as_raw_handle(), &due, 0, None, null(), 0) };
}

/// Keeps the module of this code loaded until the process ends.
pub(super) fn pin_module() {
    let mut module = null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
    // SAFETY: with this flag the name is an address inside the module. A failure changes nothing.
    unsafe { GetModuleHandleExW(flags, pin_module as fn() as *const u16, &mut module) };
}

/// Whether this process runs in the session of services, in which local names are global.
pub(super) fn is_session_of_services() -> bool {
    let mut session = 1;
    // SAFETY: the number lives until the call returns.
    let done = unsafe { ProcessIdToSessionId(std::process::id(), &mut session) };
    done != 0 && session == 0
}

pub(super) fn counter() -> u64 {
    let mut count = 0;
    // SAFETY: a number that lives until the call returns. The call does not fail since Windows XP.
    unsafe { QueryPerformanceCounter(&mut count) };
    count as u64
}

/// Counts of [`counter`] in a second.
pub(super) fn counter_frequency() -> u64 {
    let mut frequency = 0;
    // SAFETY: as above.
    unsafe { QueryPerformanceFrequency(&mut frequency) };
    (frequency as u64).max(1)
}

/// A random number; 0 if the system provides none.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    let provider = std::ptr::null_mut();
    // SAFETY: as many bytes as the count says; with this flag no provider is needed.
    unsafe { BCryptGenRandom(provider, bytes.as_mut_ptr(), 8, BCRYPT_USE_SYSTEM_PREFERRED_RNG) };
    u64::from_le_bytes(bytes)
}
