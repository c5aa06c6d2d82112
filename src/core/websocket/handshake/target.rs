//! What a request's target selects: the format by its path, topics by its path, its query and the operator's templates.
//!
//! One slash at the end of a path means nothing. A slash within a topic's name may be written as it is, except at the
//! name's end or beside another, where it is written `%2F`. *Not here*: header fields (`super`), templates (`config`).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::answer::bad_request;
use super::refusal::Refusal;
use crate::model::{BadTopic, Clients, FormatId, TemplatePart, Topic, TopicTemplate};

/// What a path selects.
pub(super) enum Target<'r> {
    /// `/connect`: go-push's JSON.
    GoPush,
    /// `/topics` and below: raw frames. The name is still percent-encoded.
    Raw { topic: Option<&'r str> },
}

impl<'r> Target<'r> {
    /// `None`: there is no such path.
    pub(super) fn from_path(path: &'r str) -> Result<Option<Self>, Refusal> {
        if path.contains("//") {
            return Err(bad_request("The path has two slashes side by side; in a topic's name, write %2F"));
        }
        Ok(match path.strip_suffix('/').unwrap_or(path) {
            "/connect" => Some(Self::GoPush),
            "/topics" => Some(Self::Raw { topic: None }),
            path => path.strip_prefix("/topics/").map(|topic| Self::Raw { topic: Some(topic) }),
        })
    }

    /// The format, by the path and the parameter `v`.
    pub(super) fn format(&self, parameters: &Parameters) -> Result<FormatId, Refusal> {
        match self {
            Self::Raw { .. } => Ok(FormatId::RAW),
            Self::GoPush => match parameters.first("v") {
                None | Some(Ok("1")) => Ok(FormatId::GO_PUSH_V1),
                Some(Ok("2")) => Ok(FormatId::GO_PUSH_V2),
                Some(_) => Err(bad_request("The parameter v is 1 or 2")),
            },
        }
    }

    /// Every topic that the request joins, each once. A name that cannot be a topic's, or one topic more than a connection
    /// may join, is an error: the client would never learn that it is not in that topic.
    pub(super) fn topics(&self, parameters: &Parameters, clients: &Clients) -> Result<Vec<Topic>, Refusal> {
        let mut topics = Topics { names: Vec::new(), max: clients.topics_max };
        let parameter = match self {
            Self::GoPush => "join",
            Self::Raw { topic } => {
                if let Some(topic) = topic {
                    let name = percent_decode_str(topic).decode_utf8().map_err(|_| BadTopic::NotText);
                    topics.join(name.as_deref().map_err(|bad| *bad))?;
                }
                "topic"
            }
        };
        for value in parameters.all(parameter) {
            topics.join(value)?;
        }
        for template in &clients.auto_join {
            if let Some(name) = fill(template, parameters) {
                topics.join(name.as_deref().map_err(|bad| *bad))?;
            }
        }
        Ok(topics.names)
    }
}

/// Topics of one request.
struct Topics {
    names: Vec<Topic>,
    max: usize,
}

impl Topics {
    /// `name`: as it was decoded.
    fn join(&mut self, name: Result<&str, BadTopic>) -> Result<(), Refusal> {
        let topic = name
            .and_then(Topic::new)
            .map_err(|bad| bad_request(&format!("The request names a topic that cannot be: {bad}")))?;
        if self.names.contains(&topic) {
            return Ok(());
        }
        if self.names.len() >= self.max {
            return Err(bad_request(&format!(
                "The request joins more topics than a connection may, which is {} (clients.topics_max); those of \
                 clients.auto_join count too",
                self.max
            )));
        }
        self.names.push(topic);
        Ok(())
    }
}

/// The name that the template makes of the parameters. `None`: one is missing or empty, which is no mistake of the client,
/// because it need not know of the template.
fn fill(template: &TopicTemplate, parameters: &Parameters) -> Option<Result<String, BadTopic>> {
    let mut name = String::new();
    for part in &template.parts {
        match part {
            TemplatePart::Literal(text) => name.push_str(text),
            TemplatePart::Parameter(wanted) => match parameters.first(wanted)? {
                Ok("") => return None,
                Ok(value) => name.push_str(value),
                Err(bad) => return Some(Err(bad)),
            },
        }
    }
    Some(Ok(name))
}

/// The parameters of a query, decoded, in order. A value that is not UTF-8 is an error of whoever wants to use it.
pub(super) struct Parameters(Vec<(String, Result<String, BadTopic>)>);

impl Parameters {
    /// One whose name is not UTF-8 is no parameter that anybody asks for.
    pub(super) fn of(query: &str) -> Self {
        let decode = |text: &str| {
            let text: Cow<'_, str> =
                if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
            percent_decode_str(&text).decode_utf8().map(Cow::into_owned).map_err(|_| BadTopic::NotText)
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.filter_map(|(name, value)| Some((decode(name).ok()?, decode(value)))).collect())
    }

    /// The values of every parameter of this name.
    fn all(&self, name: &str) -> impl Iterator<Item = Result<&str, BadTopic>> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_deref().map_err(|bad| *bad))
    }

    /// The value of the first one.
    fn first(&self, name: &str) -> Option<Result<&str, BadTopic>> {
        self.all(name).next()
    }
}
