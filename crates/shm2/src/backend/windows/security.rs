//! Permission bits as security descriptors, for each of a region's objects.
//!
//! | bits | apply to |
//! |---|---|
//! | 0700 | the user that the producer runs as |
//! | 0070 | all users that are logged on at this machine, and services (INTERACTIVE, SERVICE) |
//! | 0007 | everyone |
//!
//! The administrators and the system have all rights. Read is the right to map the frames for reading and to wait for
//! them; write, to be a leasing consumer or the next producer.
//!
//! # Safety
//! The system makes a descriptor from text. It lives as long as its [`SecurityDescriptor`] and is freed once. Buffers
//! have the length that is passed with them.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null_mut, slice_from_raw_parts};
use std::sync::OnceLock;
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{GetTokenInformation, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// READ_CONTROL, SECTION_QUERY and SECTION_MAP_READ; SECTION_MAP_WRITE.
const SECTION: [u32; 2] = [0x2_0005, 0x2];
/// READ_CONTROL, SYNCHRONIZE, EVENT_MODIFY_STATE and the query right: a reader must be able to wait and to set events.
const OBJECT: [u32; 2] = [0x12_0003, 0];

/// A security descriptor.
#[derive(Debug)]
pub(super) struct SecurityDescriptor(*mut c_void);

impl SecurityDescriptor {
    /// For the data section.
    pub(super) fn for_data(perms: u32) -> io::Result<Self> {
        Self::from_text(&text(&user()?, perms, SECTION, false))
    }

    /// For the root section, which the same user's next producer must be able to write whatever the bits are.
    pub(super) fn for_root(perms: u32) -> io::Result<Self> {
        Self::from_text(&text(&user()?, perms, SECTION, true))
    }

    /// For events and mutexes.
    pub(super) fn for_objects(perms: u32) -> io::Result<Self> {
        Self::from_text(&text(&user()?, perms, OBJECT, true))
    }

    fn from_text(text: &str) -> io::Result<Self> {
        let text: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut descriptor = null_mut();
        // SAFETY: zero-terminated text; the system allocates what it returns.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(descriptor)) }
    }

    /// Valid as long as this value lives.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        let bytes = size_of::<SECURITY_ATTRIBUTES>() as u32;
        SECURITY_ATTRIBUTES { nLength: bytes, lpSecurityDescriptor: self.0, bInheritHandle: 0 }
    }
}

impl Drop for SecurityDescriptor {
    fn drop(&mut self) {
        // SAFETY: allocated by the system with LocalAlloc, freed here only.
        unsafe { LocalFree(self.0) };
    }
}

/// The descriptor in SDDL: a protected list with an entry for each group of users.
fn text(user: &str, perms: u32, [read, write]: [u32; 2], owner_has_all: bool) -> String {
    let rights =
        |bits: u32| [(bits & 4, read), (bits & 2, write)].iter().map(|(bit, r)| u32::from(*bit != 0) * r).sum();
    let entry = |rights: u32, trustee: &str| {
        if rights == 0 { String::new() } else { format!("(A;;{rights:#x};;;{trustee})") }
    };
    let group: u32 = rights(perms >> 3);
    let owner = if owner_has_all { format!("(A;;GA;;;{user})") } else { entry(rights(perms >> 6), user) };
    let (interactive, services, all) = (entry(group, "IU"), entry(group, "SU"), entry(rights(perms), "WD"));
    format!("D:P(A;;GA;;;SY)(A;;GA;;;BA){owner}{interactive}{services}{all}")
}

/// The security identifier of this process's user, as text.
fn user() -> io::Result<String> {
    static USER: OnceLock<String> = OnceLock::new();
    if let Some(user) = USER.get() {
        return Ok(user.clone());
    }
    let user = ask_user()?;
    Ok(USER.get_or_init(|| user).clone())
}

fn ask_user() -> io::Result<String> {
    let checked = |done: i32| if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    let mut token = null_mut();
    // SAFETY: the current process's handle is always valid; the token is returned into `token`.
    checked(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) })?;
    // SAFETY: a new handle that no other code closes.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // More than a SID with its header takes (68 bytes), aligned for pointers.
    let mut buffer = [0u64; 32];
    let (mut needed, capacity) = (0, size_of_val(&buffer) as u32);
    // SAFETY: the buffer has the length that is passed.
    checked(unsafe {
        GetTokenInformation(token.as_raw_handle(), TokenUser, buffer.as_mut_ptr().cast(), capacity, &mut needed)
    })?;
    let mut text = null_mut();
    // SAFETY: the system filled the buffer with this struct, whose SID points into the same buffer.
    checked(unsafe { ConvertSidToStringSidW((*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid, &mut text) })?;
    // SAFETY: a zero-terminated text of the system, read up to its end and freed once.
    unsafe {
        let length = (0..).take_while(|i| *text.add(*i) != 0).count();
        let user = String::from_utf16_lossy(&*slice_from_raw_parts(text, length));
        LocalFree(text.cast());
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_bits_become_access_entries() {
        let head = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";
        let data = |perms| text("S-1-5-21-1", perms, SECTION, false);
        assert_eq!(data(0o600), format!("{head}(A;;0x20007;;;S-1-5-21-1)"));
        assert_eq!(data(0o640), format!("{head}(A;;0x20007;;;S-1-5-21-1)(A;;0x20005;;;IU)(A;;0x20005;;;SU)"));
        assert_eq!(data(0o004), format!("{head}(A;;0x20005;;;WD)"));
        let object = text("S-1-5-21-1", 0o604, OBJECT, true);
        assert_eq!(object, format!("{head}(A;;GA;;;S-1-5-21-1)(A;;0x120003;;;WD)"));
    }

    #[test]
    fn the_system_accepts_every_descriptor() {
        assert!(user().unwrap().starts_with("S-1-"));
        for perms in [0, 0o600, 0o640, 0o660, 0o666, 0o777] {
            SecurityDescriptor::for_data(perms).unwrap();
            SecurityDescriptor::for_root(perms).unwrap();
            SecurityDescriptor::for_objects(perms).unwrap();
        }
    }
}
