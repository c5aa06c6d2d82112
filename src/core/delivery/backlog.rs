//! Memory of what a shard has taken from its ring and not finished: what moves, and what pushes hold up.
//!
//! A line is held while some push in it has a pace or stands still. What moves has the bound that stops the ring; what is
//! held has its own, kept where messages enter (`push::holds`), so that one topic's push does not stop the others.
//! *Not here*: the walk (`walk`).

use super::line::Line;

/// Bytes of both, as allocated.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    moving: usize,
    held: usize,
}

impl Backlog {
    /// Both together.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.moving + self.held
    }

    /// What moves.
    #[inline]
    pub(super) fn moving(&self) -> usize {
        self.moving
    }

    /// What pushes hold up.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    fn of(&mut self, line: &Line) -> &mut usize {
        if line.holders > 0 { &mut self.held } else { &mut self.moving }
    }

    /// A line has so many bytes more.
    pub(super) fn add(&mut self, line: &mut Line, bytes: usize) {
        line.bytes += bytes;
        *self.of(line) += bytes;
    }

    /// A line has so many bytes less.
    pub(super) fn sub(&mut self, line: &mut Line, bytes: usize) {
        line.bytes -= bytes;
        *self.of(line) -= bytes;
    }

    /// A line vanishes with all that it has.
    pub(super) fn drop_line(&mut self, line: &mut Line) {
        self.sub(line, line.bytes);
        line.holders = 0;
    }

    /// A push in a line has a pace now, or stands still.
    pub(super) fn hold(&mut self, line: &mut Line) {
        line.holders += 1;
        if line.holders == 1 {
            self.moving -= line.bytes;
            self.held += line.bytes;
        }
    }

    /// One that did is over, or goes as fast as it can.
    pub(super) fn release(&mut self, line: &mut Line) {
        line.holders -= 1;
        if line.holders == 0 {
            self.held -= line.bytes;
            self.moving += line.bytes;
        }
    }
}
