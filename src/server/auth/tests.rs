use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;

const ALLOWED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn gate(are_supervisor: bool, token: Option<&str>) -> Gate {
    let allowed = Allowed {
        addresses: vec![ALLOWED],
        are_supervisor,
    };
    Gate::new(token.map(Secret::new).as_ref(), allowed)
}

fn page(gate: &Gate, from: IpAddr, host: &str, password: Option<&str>) -> Result<(), PageRefusal> {
    let mut headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
    if let Some(password) = password {
        let basic = format!("Basic {}", BASE64.encode(format!("user:{password}")));
        headers.insert(AUTHORIZATION, basic.parse().unwrap());
    }
    gate.check_page(Peer(Some(from)), &headers)
}

#[test]
fn only_the_exact_token_matches() {
    let token = Token::new(&Secret::new("0123456789abcdef"));
    assert!(token.matches(b"0123456789abcdef"));
    for wrong in [
        &b""[..],
        b"0123456789abcde",
        b"0123456789abcdef ",
        b"0123456789ABCDEF",
    ] {
        assert!(!token.matches(wrong));
    }
}

#[test]
fn allowed_address_opens_the_page_by_literal_host_only() {
    let gate = gate(false, None);
    for host in [
        "127.0.0.1:8099",
        "localhost:8099",
        "[::1]:8099",
        "[::1]",
        "192.0.2.7",
        "LOCALHOST",
    ] {
        assert_eq!(page(&gate, ALLOWED, host, None), Ok(()), "{host}");
        assert_eq!(
            page(&gate, STRANGER, host, None),
            Err(PageRefusal::Address),
            "{host}"
        );
    }
    for host in [
        "evil.example.com",
        "127.0.0.1.evil.example.com",
        "localhost.evil.example.com",
        "",
        "a b",
    ] {
        assert_eq!(
            page(&gate, ALLOWED, host, None),
            Err(PageRefusal::Host),
            "{host}"
        );
    }
    assert_eq!(
        gate.check_page(Peer(None), &HeaderMap::new()),
        Err(PageRefusal::Address)
    );
}

#[test]
fn supervisor_opens_the_page_by_any_host() {
    let gate = gate(true, None);
    assert_eq!(page(&gate, ALLOWED, "home.example.com", None), Ok(()));
    assert_eq!(
        page(&gate, STRANGER, "127.0.0.1", None),
        Err(PageRefusal::Address)
    );
}

#[test]
fn other_addresses_and_hosts_need_the_token() {
    let gate = gate(false, Some("correct-horse:battery"));
    for (from, host) in [(STRANGER, "127.0.0.1"), (ALLOWED, "home.example.com")] {
        assert_eq!(
            page(&gate, from, host, None),
            Err(PageRefusal::Token(TokenRefusal::Missing))
        );
        assert_eq!(
            page(&gate, from, host, Some("correct-horse:batterz")),
            Err(PageRefusal::Token(TokenRefusal::Wrong))
        );
        assert_eq!(
            page(&gate, from, host, Some("correct-horse:battery")),
            Ok(())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn guessing_address_is_throttled_unless_it_showed_the_token() {
    let gate = gate(false, Some("correct-horse-battery"));
    let guess = |from| page(&gate, from, "127.0.0.1", Some("guessed"));
    let show = |from| page(&gate, from, "127.0.0.1", Some("correct-horse-battery"));
    let (stranger, owner) = (STRANGER, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)));
    assert_eq!(show(owner), Ok(()));
    for from in [stranger, owner] {
        let answers: Vec<_> = (0..30).map(|_| guess(from)).collect();
        assert_eq!(answers[0], Err(PageRefusal::Token(TokenRefusal::Wrong)));
        assert_eq!(
            answers[29],
            Err(PageRefusal::Token(TokenRefusal::Throttled))
        );
    }
    assert_eq!(
        show(stranger),
        Err(PageRefusal::Token(TokenRefusal::Throttled)),
        "even with the right token"
    );
    assert_eq!(show(owner), Ok(()));
    assert_eq!(page(&gate, ALLOWED, "127.0.0.1", None), Ok(()));
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(show(stranger), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn api_and_page_count_wrong_tokens_together() {
    let gate = gate(false, Some("correct-horse-battery"));
    let peer = Peer(Some(STRANGER));
    assert_eq!(
        gate.check_api(peer, &HeaderMap::new()),
        Err(TokenRefusal::Missing)
    );
    let bearer = HeaderMap::from_iter([(AUTHORIZATION, "Bearer guessed".parse().unwrap())]);
    for _ in 0..19 {
        assert_eq!(gate.check_api(peer, &bearer), Err(TokenRefusal::Wrong));
    }
    assert_eq!(gate.check_api(peer, &bearer), Err(TokenRefusal::Throttled));
    assert_eq!(
        page(&gate, STRANGER, "127.0.0.1", None),
        Err(PageRefusal::Token(TokenRefusal::Throttled))
    );
    let right = "Bearer correct-horse-battery".parse().unwrap();
    let right = HeaderMap::from_iter([(AUTHORIZATION, right)]);
    assert_eq!(gate.check_api(Peer(None), &right), Ok(()));
}
