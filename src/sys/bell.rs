//! What makes a sleeping thread's wait return.

/// Writes the sleeper's eventfd; [`super::eventfd::EventFd`] in the program, a flag under loom.
pub trait Bell: Send + Sync {
    /// Makes the sleeper's wait return, now or when it begins.
    fn strike(&self);
}
