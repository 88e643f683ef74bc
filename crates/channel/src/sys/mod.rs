//! System calls: sealed memory and its mappings, descriptors that wake another process, Unix sockets.

mod mapping;
mod memfd;
mod signal;
mod socket;
mod sockopt;

pub(crate) use mapping::Mapping;
pub(crate) use memfd::{Seals, create_memory, demand_seals, huge_pages, is_memory, memory_bytes, seal};
pub(crate) use signal::{
    Cleared, Outcome, WaitSet, Waker, clear_all, clear_some, is_closed, new_event, wait_any_readable, wait_readable,
};
pub(crate) use socket::{
    MOST_DESCRIPTORS, Message, accept_one, close_elsewhere, connect_to, is_seqpacket, listen_at, new_socket_pair,
    receive_message, send_message,
};
pub(crate) use sockopt::{peer_of, refuse_descriptors};
