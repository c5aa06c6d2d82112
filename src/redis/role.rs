//! What a server is, by its own words. Pure.
//!
//! From Redis 6 on, `HELLO` without arguments says it, and any user may send it. Older servers say it in reply to
//! `ROLE`, if the user may run that.

use super::failure::Failure;
use super::resp::Reply;

/// What a server is to those that publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It did not say.
    Unknown,
    /// What is published there reaches everybody.
    Primary,
    /// What is published there reaches only its own subscribers.
    Replica,
}

impl Role {
    fn named(name: &[u8]) -> Self {
        match name {
            b"master" | b"primary" => Self::Primary,
            b"slave" | b"replica" => Self::Replica,
            _ => Self::Unknown,
        }
    }
}

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Hello,
    Role,
    /// It answers neither.
    Never,
}

impl Question {
    /// The command.
    pub fn words(self) -> Option<&'static [&'static [u8]]> {
        match self {
            Self::Hello => Some(&[b"HELLO"]),
            Self::Role => Some(&[b"ROLE"]),
            Self::Never => None,
        }
    }

    /// What to ask when this one is not answered.
    pub fn next(self) -> Self {
        match self {
            Self::Hello => Self::Role,
            Self::Role | Self::Never => Self::Never,
        }
    }

    /// What a reply says; `None`: the server does not know the question, or may not answer it.
    pub fn role(self, reply: &Reply) -> Result<Option<Role>, Failure> {
        match (self, reply) {
            (Self::Hello, Reply::Array(strings)) => {
                let pairs = strings.chunks_exact(2);
                let role = pairs
                    .filter(|pair| pair[0].as_deref() == Some(b"role"))
                    .find_map(|pair| pair[1].as_deref());
                Ok(Some(role.map_or(Role::Unknown, Role::named)))
            }
            (Self::Role, Reply::Array(strings)) => {
                Ok(Some(strings.first().and_then(Option::as_deref).map_or(Role::Unknown, Role::named)))
            }
            (_, Reply::Error(text)) if text.starts_with("ERR") || text.starts_with("NOPERM") => Ok(None),
            (_, Reply::Error(text)) => Err(Failure::Refused(text.clone())),
            _ => Err(Failure::Unexpected),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn array(strings: &[&'static str]) -> Reply {
        Reply::Array(strings.iter().map(|string| Some(Bytes::from_static(string.as_bytes()))).collect())
    }

    #[test]
    fn both_questions_tell_a_primary_from_a_replica() {
        let says = |question: Question, reply: &Reply| question.role(reply).expect("an answer");
        for (name, role) in [("master", Role::Primary), ("replica", Role::Replica), ("x", Role::Unknown)] {
            assert_eq!(says(Question::Hello, &array(&["server", "redis", "role", name])), Some(role));
        }
        assert_eq!(
            says(Question::Role, &array(&["slave", "host", "6379", "connected", "1"])),
            Some(Role::Replica)
        );
        assert_eq!(says(Question::Role, &array(&["sentinel"])), Some(Role::Unknown));
        assert_eq!(says(Question::Hello, &array(&[])), Some(Role::Unknown));
    }

    #[test]
    fn an_old_server_is_asked_otherwise_and_one_that_says_neither_is_not_asked_again() {
        let unknown = Reply::Error("ERR unknown command `HELLO`".into());
        assert_eq!(Question::Hello.role(&unknown).expect("an answer"), None);
        let refused = Reply::Error("NOPERM this user has no permissions to run the 'role' command".into());
        assert_eq!(Question::Hello.next().role(&refused).expect("an answer"), None);
        assert_eq!(Question::Role.next().words(), None);
        assert!(Question::Hello.role(&Reply::Integer(1)).is_err(), "an answer to something else");
        assert!(Question::Hello.role(&Reply::Error("NOAUTH x".into())).is_err());
    }
}
