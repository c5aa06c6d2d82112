//! Linux calls that the standard library does not have, behind safe functions. The only unsafe code of this tool.
#![allow(unsafe_code)]

pub(crate) mod diag;
pub(crate) mod epoll;
pub(crate) mod process;
pub(crate) mod ring;
pub(crate) mod socket;
