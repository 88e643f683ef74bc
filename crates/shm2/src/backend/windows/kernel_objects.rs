//! Events, mutexes, sections and clocks of the system.
//!
//! # Safety
//! ObjectNames are zero-terminated and live through their call; handles are owned by the values that pass them; structs are
//! fully initialised.

#![allow(unsafe_code)]

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
/// `MUTEX_MODIFY_STATE`, for giving a mutex up.
const MODIFY: u32 = 1;
/// `CREATE_WAITABLE_TIMER_HIGH_RESOLUTION`, Windows 10 1803 and later.
const HIGH_RESOLUTION: u32 = 2;
/// What one call can wait for.
pub(super) const MAX_WAITED: usize = 64;

/// Whether an object with this name was there already.
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
    // SAFETY: a fresh handle that nobody else closes.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Calls a function that makes or opens an object, and says which of both it did.
fn made(
    access: Option<&SecurityDescriptor>,
    make: impl FnOnce(*const SECURITY_ATTRIBUTES) -> HANDLE,
) -> io::Result<(OwnedHandle, Made)> {
    let attributes = access.map(SecurityDescriptor::attributes);
    // SAFETY: a plain store to the thread's own word, so that an old error is not taken for a new one.
    unsafe { SetLastError(0) };
    let handle = make(attributes.as_ref().map_or(null(), std::ptr::from_ref));
    // SAFETY: reads the same word.
    let existed = unsafe { GetLastError() } == ERROR_ALREADY_EXISTS;
    Ok((owned(handle)?, if existed { Made::Existed } else { Made::New }))
}

/// A section of memory that is committed at once: too little memory is an error here, not later.
pub(super) fn create_section(name: &str, bytes: u64, access: &SecurityDescriptor) -> io::Result<(OwnedHandle, Made)> {
    let name = wide(name);
    // SAFETY: see the head of this file; no file stands behind it, so memory does.
    made(Some(access), |attributes| unsafe {
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

/// An event that wakes one waiter and is then reset, or, if `manual`, stays set. Without a name for this process alone.
pub(super) fn create_event(
    name: Option<&str>,
    manual: bool,
    access: Option<&SecurityDescriptor>,
) -> io::Result<OwnedHandle> {
    let name = name.map(wide);
    let name = name.as_ref().map_or(null(), |name| name.as_ptr());
    // SAFETY: see the head of this file.
    made(access, |attributes| unsafe { CreateEventW(attributes, manual.into(), 0, name) }).map(|(event, _)| event)
}

pub(super) fn open_event(name: &str) -> io::Result<OwnedHandle> {
    // SAFETY: see the head of this file.
    owned(unsafe { OpenEventW(SYNCHRONIZE | EVENT_MODIFY_STATE, 0, wide(name).as_ptr()) })
}

/// A mutex that nobody owns, if it is new.
pub(super) fn create_mutex(name: &str, access: &SecurityDescriptor) -> io::Result<OwnedHandle> {
    let name = wide(name);
    // SAFETY: see the head of this file.
    let made = made(Some(access), |attributes| unsafe { CreateMutexW(attributes, 0, name.as_ptr()) });
    // Another user's may be used, but making it asks for every right to it.
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

/// Gives up a mutex that this thread took.
pub(super) fn unlock(mutex: &OwnedHandle) {
    // SAFETY: a live handle; of a mutex of another thread it is an error that changes nothing.
    unsafe { ReleaseMutex(mutex.as_raw_handle()) };
}

/// Waits for the first of the objects, at most 64 of them, to be signalled; a mutex is then owned by this thread, also
/// one that its last owner left behind. `None` when the time is over.
pub(super) fn wait(objects: &[&OwnedHandle], timeout: Option<Duration>) -> Option<usize> {
    let handles: Vec<_> = objects.iter().take(MAX_WAITED).map(|object| object.as_raw_handle()).collect();
    // Rounded up: a wait that is too short by the rest would be repeated again and again.
    let ms = timeout.map_or(INFINITE, |t| t.as_nanos().div_ceil(1_000_000).min(u128::from(INFINITE - 1)) as u32);
    // SAFETY: as many live handles as are said.
    let answer = unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, ms) };
    // The first ones stand for signalled objects, those from 0x80 for mutexes left behind.
    let index = if answer >= 0x80 { answer.wrapping_sub(0x80) } else { answer };
    ((index as usize) < handles.len()).then_some(index as usize)
}

/// Whether this thread could take the mutex, which it then owns.
pub(super) fn try_lock(mutex: &OwnedHandle) -> bool {
    wait(&[mutex], Some(Duration::ZERO)).is_some()
}

/// Whether somebody owns the mutex.
pub(super) fn is_locked(mutex: &OwnedHandle) -> bool {
    let free = try_lock(mutex);
    if free {
        unlock(mutex);
    }
    !free
}

/// A timer for pauses below the system's usual 15 ms; older systems have only those.
pub(super) fn create_timer() -> io::Result<OwnedHandle> {
    // SAFETY: no name and no attributes.
    let fine = owned(unsafe { CreateWaitableTimerExW(null(), null(), HIGH_RESOLUTION, TIMER_ALL_ACCESS) });
    // SAFETY: as above.
    fine.or_else(|_| owned(unsafe { CreateWaitableTimerExW(null(), null(), 0, TIMER_ALL_ACCESS) }))
}

pub(super) fn start_timer(timer: &OwnedHandle, after: Duration) {
    // Negative: from now on, in units of 100 ns.
    let due = -((after.as_nanos() / 100) as i64).max(1);
    // SAFETY: a live handle and a number that lives through the call.
    unsafe { SetWaitableTimer(timer.as_raw_handle(), &due, 0, None, null(), 0) };
}

/// Keeps the module of this code loaded until the process ends.
pub(super) fn pin_module() {
    let mut module = null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
    // SAFETY: with this flag the name is an address inside the module; a failure leaves things as they were.
    unsafe { GetModuleHandleExW(flags, pin_module as fn() as *const u16, &mut module) };
}

/// Whether this process is in the session of services, where local names are global ones.
pub(super) fn is_session_of_services() -> bool {
    let mut session = 1;
    // SAFETY: the number lives through the call.
    let done = unsafe { ProcessIdToSessionId(std::process::id(), &mut session) };
    done != 0 && session == 0
}

pub(super) fn counter() -> u64 {
    let mut count = 0;
    // SAFETY: a number that lives through the call, which does not fail since Windows XP.
    unsafe { QueryPerformanceCounter(&mut count) };
    count as u64
}

/// Counts in a second.
pub(super) fn counter_frequency() -> u64 {
    let mut frequency = 0;
    // SAFETY: as above.
    unsafe { QueryPerformanceFrequency(&mut frequency) };
    (frequency as u64).max(1)
}

/// A failure leaves zeros.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    let provider = std::ptr::null_mut();
    // SAFETY: as many bytes as are said; no provider is needed with this flag.
    unsafe { BCryptGenRandom(provider, bytes.as_mut_ptr(), 8, BCRYPT_USE_SYSTEM_PREFERRED_RNG) };
    u64::from_le_bytes(bytes)
}
