//! Which web pages may connect: a browser sends cookies and reaches loopback from any page, but it says which (RFC 6454).

/// Whether a page of `origin` may connect to the server that the browser calls `host`.
///
/// A page from the same host may always; others are looked up in `allowed`, written like `https://console.example`.
/// Over `tls` a page of `http://` is not of the same origin: whoever can change it on its way would speak for it. Without,
/// a page of `https://` is: a proxy that encrypts is between us and the browser, which lets it connect to none but that.
pub(super) fn may_connect(origin: &str, host: Option<&str>, tls: bool, allowed: &[String]) -> bool {
    let listed = allowed.iter().any(|one| same(one, origin));
    listed || host.is_some_and(|host| is_of_host(origin, host, tls))
}

fn is_of_host(origin: &str, host: &str, tls: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false; // `null`: a sandboxed page or a file
    };
    let scheme = scheme.to_ascii_lowercase();
    if !matches!((scheme.as_str(), tls), ("https", _) | ("http", false)) {
        return false;
    }
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

    fn check(origin: &str, host: &str, tls: bool, expected: bool) {
        let allowed = ["https://console.example".to_owned()];
        let found = may_connect(origin, Some(host), tls, &allowed);
        assert_eq!(found, expected, "{origin} at {host}, TLS: {tls}");
    }

    #[test]
    fn pages_of_the_list_and_of_the_same_host_may_connect() {
        for tls in [false, true] {
            check("https://console.example", "broker.example", tls, true);
            check("HTTPS://Console.Example", "broker.example", tls, true);
            check("https://broker.example", "broker.example:443", tls, true);
            check("https://broker.example:443", "broker.example", tls, true);
            check("https://[::1]:7300", "[::1]:7300", tls, true);
        }
        check("http://localhost:7300", "localhost:7300", false, true);
        check("http://[::1]:80", "[::1]", false, true);
    }

    #[test]
    fn other_pages_may_not() {
        for tls in [false, true] {
            check("http://console.example", "broker.example", tls, false);
            check("https://console.example.evil", "broker.example", tls, false);
            check("https://console.example:8443", "broker.example", tls, false);
            check("http://localhost:8080", "localhost:7300", tls, false);
            check("https://broker.example:7300", "broker.example", tls, false);
            check("https://broker.example", "broker.example:80", tls, false);
            check("ftp://broker.example", "broker.example", tls, false);
            check("null", "null", tls, false);
            check("", "", tls, false);
            assert!(!may_connect("https://broker.example", None, tls, &[]));
        }
    }

    #[test]
    fn behind_tls_a_page_that_came_unencrypted_may_not() {
        check("http://localhost:7300", "localhost:7300", true, false);
        check("http://broker.example", "broker.example:80", true, false);
        check(
            "http://broker.example:443",
            "broker.example:443",
            true,
            false,
        );
    }

    #[test]
    fn without_a_list_only_the_same_host_may() {
        let may = |origin| may_connect(origin, Some("broker.example:7300"), true, &[]);
        assert!(may("https://broker.example:7300"));
        assert!(!may("https://console.example"));
        assert!(!may("https://other.broker.example:7300"));
    }
}
