//! Which web pages may connect: a browser sends cookies and reaches loopback from any page, but it says which (RFC 6454).

/// Whether a page of `origin` may connect to the server that the browser calls `host`.
///
/// A page from the same host may always; others are looked up in `allowed`, written like `https://console.example`.
pub(super) fn may_connect(origin: &str, host: Option<&str>, allowed: &[String]) -> bool {
    let listed = allowed.iter().any(|one| same(one, origin));
    listed || host.is_some_and(|host| is_of_host(origin, host))
}

fn is_of_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false; // `null`: a sandboxed page or a file
    };
    let scheme = scheme.to_ascii_lowercase();
    let authority = without_default_port(&scheme, authority);
    authority.eq_ignore_ascii_case(without_default_port(&scheme, host))
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/').eq_ignore_ascii_case(other)
}

fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: &str, host: &str, expected: bool) {
        let allowed = ["https://console.example".to_owned()];
        assert_eq!(
            may_connect(origin, Some(host), &allowed),
            expected,
            "{origin} at {host}"
        );
    }

    #[test]
    fn pages_of_the_list_and_of_the_same_host_may_connect() {
        check("https://console.example", "broker.example", true);
        check("HTTPS://Console.Example", "broker.example", true);
        check("http://localhost:7300", "localhost:7300", true);
        check("https://broker.example", "broker.example:443", true);
        check("http://[::1]:80", "[::1]", true);
    }

    #[test]
    fn other_pages_may_not() {
        check("http://console.example", "broker.example", false);
        check("https://console.example.evil", "broker.example", false);
        check("https://console.example:8443", "broker.example", false);
        check("http://localhost:8080", "localhost:7300", false);
        check("null", "null", false);
        check("", "", false);
        assert!(!may_connect("https://broker.example", None, &[]));
    }
}
