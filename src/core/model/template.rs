//! Topic templates: `{product_id}:{alias_key}`.
//!
//! Text is taken as it is; a name in braces is a parameter of the connect query. *Not here*: filling a template in
//! (`websocket::handshake`).

use std::fmt;
use std::str::FromStr;

use crate::limits;

/// A topic's name with parameters of the connect query in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate {
    /// Literal text and parameter names, in order.
    pub parts: Vec<TemplatePart>,
}

/// A piece of a [`TopicTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text taken as it is.
    Literal(String),
    /// The value of a query parameter.
    Parameter(String),
}

/// Why a text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTemplate {
    /// No text at all.
    Empty,
    /// A brace without its partner, or one within another.
    Braces,
    /// `{}`, or a character in a parameter's name that is no letter, digit, `_`, `-` or `.`.
    Parameter,
    /// A control character, which no topic has.
    Control,
    /// Longer than a topic can be.
    TooLong,
}

impl fmt::Display for BadTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a template is empty"),
            Self::Braces => f.write_str("a brace has no partner"),
            Self::Parameter => {
                f.write_str("a parameter's name is empty or has other characters than letters, digits, _ - .")
            }
            Self::Control => f.write_str("a template has a control character"),
            Self::TooLong => write!(f, "a template is longer than {} bytes", limits::TOPIC_BYTES_MAX),
        }
    }
}

impl std::error::Error for BadTemplate {}

impl FromStr for TopicTemplate {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        if text.is_empty() {
            return Err(BadTemplate::Empty);
        }
        if text.len() > limits::TOPIC_BYTES_MAX {
            return Err(BadTemplate::TooLong);
        }
        if text.contains(char::is_control) {
            return Err(BadTemplate::Control);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, after) = next_part(rest)?;
            parts.push(part);
            rest = after;
        }
        Ok(Self { parts })
    }
}

/// The first part of a text that is not empty, and what follows it.
fn next_part(text: &str) -> Result<(TemplatePart, &str), BadTemplate> {
    if let Some(parameter) = text.strip_prefix('{') {
        let (name, after) = parameter.split_once('}').ok_or(BadTemplate::Braces)?;
        if name.contains('{') {
            return Err(BadTemplate::Braces);
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
            return Err(BadTemplate::Parameter);
        }
        Ok((TemplatePart::Parameter(name.to_owned()), after))
    } else {
        let (literal, after) = text.split_at(text.find('{').unwrap_or(text.len()));
        if literal.contains('}') {
            return Err(BadTemplate::Braces);
        }
        Ok((TemplatePart::Literal(literal.to_owned()), after))
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            TemplatePart::Literal(text) => f.write_str(text),
            TemplatePart::Parameter(name) => write!(f, "{{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_stand_in_braces_and_the_rest_is_text() {
        let template: TopicTemplate = "{product_id}:{alias_key}/x".parse().expect("a template");
        let parameter = |name: &str| TemplatePart::Parameter(name.into());
        let literal = |text: &str| TemplatePart::Literal(text.into());
        assert_eq!(
            template.parts,
            [parameter("product_id"), literal(":"), parameter("alias_key"), literal("/x")]
        );
    }

    #[test]
    fn a_topic_without_parameters_is_a_template_too() {
        let template: TopicTemplate = "news".parse().expect("a template");
        assert_eq!(template.parts, [TemplatePart::Literal("news".into())]);
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_reason() {
        use BadTemplate::*;
        for (text, reason) in [
            ("", Empty),
            ("{a", Braces),
            ("a}", Braces),
            ("{a}}", Braces),
            ("{{a}}", Braces),
            ("{}", Parameter),
            ("{a b}", Parameter),
            ("a\nb", Control),
        ] {
            assert_eq!(text.parse::<TopicTemplate>(), Err(reason), "{text:?}");
        }
        assert_eq!("x".repeat(limits::TOPIC_BYTES_MAX + 1).parse::<TopicTemplate>(), Err(TooLong));
    }

    proptest! {
        #[test]
        fn a_template_is_printed_as_it_was_written(text in "[a-z:{}]{0,12}") {
            if let Ok(template) = text.parse::<TopicTemplate>() {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }
}
