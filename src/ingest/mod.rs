//! stub
pub mod publisher;
