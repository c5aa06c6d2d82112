//! Tokens of HTTP.
//!
//! *Not here*: which of them mean something (`upgrade`, `config`).

/// Whether a text is a token (RFC 9110 section 5.6.2): it has no character that could end a list's element or a field.
pub fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_blanks_and_controls_are_in_no_token() {
        for good in ["json", "v2.json", "a+b", "!#$%&'*+-.^_`|~", "0"] {
            assert!(is_token(good), "{good}");
        }
        // RFC 2616 section 2.2, which RFC 6455 refers to.
        for bad in "()<>@,;:\\\"/[]?={} \t\r\n\0\x7fé".chars() {
            assert!(!is_token(&format!("a{bad}b")), "{bad:?}");
        }
        assert!(!is_token(""));
    }
}
