//! stub
pub mod resp;
