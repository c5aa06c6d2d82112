//! Records as one page that needs nothing else.

use super::text;
use crate::results::Record;

/// The page.
pub(super) fn page(records: &[(String, Record)]) -> String {
    let mut out = "<!doctype html>\n<meta charset=\"utf-8\">\n".to_owned();
    for (label, record) in records {
        out.push_str(&format!("<h1>{}</h1>\n<pre>{}</pre>\n", escape(label), escape(&text::run(record))));
    }
    out
}

/// Text that is markup nowhere: in elements and in quoted attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
