//! stub
use super::{Command, Format};
use crate::batch::{Batch, Encoded};
/// raw
pub struct Raw;
impl Format for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }
    fn encode(&self, _b: &Batch) -> Encoded {
        Encoded::default()
    }
    fn command<'a>(&self, _t: &'a str) -> Command<'a> {
        Command::Ignore
    }
}
