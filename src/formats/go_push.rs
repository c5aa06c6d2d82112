//! stub
use super::{Command, Format};
use crate::batch::{Batch, Encoded};
/// v1
pub struct V1;
/// v2
pub struct V2;
impl Format for V1 {
    fn name(&self) -> &'static str {
        "go-push-v1"
    }
    fn encode(&self, _b: &Batch) -> Encoded {
        Encoded::default()
    }
    fn command<'a>(&self, _t: &'a str) -> Command<'a> {
        Command::Ignore
    }
}
impl Format for V2 {
    fn name(&self) -> &'static str {
        "go-push-v2"
    }
    fn encode(&self, _b: &Batch) -> Encoded {
        Encoded::default()
    }
    fn command<'a>(&self, _t: &'a str) -> Command<'a> {
        Command::Ignore
    }
}
