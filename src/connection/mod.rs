//! stub
pub mod reason;
