//! Cuts what may be a secret out of text that others wrote. In: text. Out: the same with marks where
//! secrets may have been. Cautious on purpose: a support bundle goes to other people. Pure.

/// Stands where a secret may have been.
pub(super) const CUT: &str = "[cut]";
/// What a secret's name ends with, in lower case.
const NAMES: [&str; 7] =
    ["password", "passwd", "secret", "token", "authorization", "apikey", "api_key"];

/// The text without user information in addresses, blocks of PEM, and what stands behind names of
/// secrets.
pub(super) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_pem = false;
    for line in text.split_inclusive('\n') {
        if line.contains("-----BEGIN ") {
            in_pem = true;
            out += &format!("{CUT}\n");
        }
        if !in_pem {
            out += &without_named(&without_user(line));
        }
        if line.contains("-----END ") {
            in_pem = false;
        }
    }
    out
}

/// `scheme://user:password@host` without the user and password.
fn without_user(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out += before;
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | '#'))
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => out += &format!("{CUT}@{host}"),
            None => out += authority,
        }
        rest = tail;
    }
    out + rest
}

/// `password=x`, `"token": "x"`, `authorization: Bearer x` without the x.
fn without_named(line: &str) -> String {
    // Lower case of ASCII only, so that places stay the same.
    let lower = line.to_ascii_lowercase();
    let mut out = String::new();
    let mut from = 0;
    while let Some((start, end)) = next_secret(&lower, line, from) {
        out += &line[from..start];
        out += CUT;
        from = end;
    }
    out + &line[from..]
}

/// From where to where the next secret goes.
fn next_secret(lower: &str, line: &str, from: usize) -> Option<(usize, usize)> {
    let found = NAMES.iter().filter_map(|name| {
        let at = from + lower.get(from..)?.find(name)? + name.len();
        Some(at)
    });
    let mut after = found.min()?;
    let rest = &line[after..];
    let gap = rest.len() - rest.trim_start_matches(['"', '\'', '\\', ' ']).len();
    let Some(rest) = rest[gap..].strip_prefix([':', '=']) else {
        return next_secret(lower, line, after);
    };
    after += gap + 1;
    let gap = rest.len() - rest.trim_start_matches(['"', '\'', '\\', ' ']).len();
    let rest = &rest[gap..];
    // A map or list names where a secret is; the secret is elsewhere.
    if rest.starts_with(['{', '[', '\n']) || rest.is_empty() || rest.starts_with("null") {
        return next_secret(lower, line, after);
    }
    let start = after + gap;
    let authorization = lower[..after].trim_end_matches([':', '=', '"', '\'', '\\', ' ']);
    let whole_line = authorization.ends_with("authorization");
    let ends = |c: char| match whole_line {
        true => matches!(c, '"' | '\'' | '\n' | ','),
        false => c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '}' | '&' | ';'),
    };
    let length = rest.find(ends).unwrap_or(rest.len());
    Some((start, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_cut_and_the_rest_stays() {
        for (text, expected) in [
            ("http://u:p@host:1/x and http://h:2", "http://[cut]@host:1/x and http://h:2"),
            ("password=hunter2 next", "password=[cut] next"),
            ("{\"token\": \"abc\", \"a\": 1}", "{\"token\": \"[cut]\", \"a\": 1}"),
            ("sasl.password: x, b", "sasl.password: [cut], b"),
            ("Authorization: Bearer abc def\nok", "Authorization: [cut]\nok"),
            ("{\\\"secret\\\":\\\"abc\\\"}", "{\\\"secret\\\":\\\"[cut]\"}"),
            ("kafka.password: {name: a, key: b}", "kafka.password: {name: a, key: b}"),
            ("no password was given", "no password was given"),
            ("a\n-----BEGIN KEY-----\nxyz\n-----END KEY-----\nb\n", "a\n[cut]\nb\n"),
            ("password=", "password="),
        ] {
            let found = redacted(text);
            // Escaped quotes may lose their escape, never their secret.
            assert_eq!(found.replace('\\', ""), expected.replace('\\', ""), "{text}");
        }
    }
}
