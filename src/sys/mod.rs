//! Linux calls behind safe functions.
pub mod eventfd;
pub mod readiness;
