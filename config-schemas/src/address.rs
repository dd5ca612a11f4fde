//! An address as people write it: `host:port`. Pure.

/// Addresses that a list of brokers may have; more are of no use, as a cluster names the rest itself.
pub const ADDRESSES_MAX: usize = 32;

/// Matches an address; whether numbers are in range, [`is_address`] says.
pub(crate) const ADDRESS_PATTERN: &str =
    r"^([-._a-zA-Z0-9]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}$";

/// Whether the text is `host:port`: a name, an IPv4 address or a bracketed IPv6 address; a protocol
/// before it would go around our own choice.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bare {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        }
    };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    fits && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["a:1", "b.c-d_e:65535", "127.0.0.1:9092", "[::1]:9092"] {
            assert!(is_address(good), "{good}");
        }
        for wrong in
            ["", "a", "a:0", "a:65536", "a:+1", ":1", "ssl://a:1", "::1:2", "[a]:1", "a b:1"]
        {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
