//! stub
pub mod backoff;
pub mod inbox;
pub mod publisher;
pub mod redis;
