//! The version of a Home Assistant: it tells this to anyone in the first message of its WebSocket.
//!
//! Source: `auth_required_message` in `homeassistant/components/websocket_api/auth.py`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::Client;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use url::Url;

/// First byte of a message of text in one frame. Source: RFC 6455, section 5.2.
const TEXT_IN_ONE_FRAME: u8 = 0x81;

/// Length that says that two bytes with the length follow. Source: as above.
const LENGTH_FOLLOWS: u8 = 126;

pub(super) async fn version(client: &Client, url: Url) -> Option<String> {
    let request = client
        .get(url)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, STANDARD.encode(uuid::Uuid::new_v4()));
    let answer = request.send().await.ok()?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let message = first_message(&mut answer.upgrade().await.ok()?).await?;
    let message: Value = serde_json::from_slice(&message).ok()?;
    message["ha_version"].as_str().map(str::to_owned)
}

/// Reads a short message from a server, which masks none.
async fn first_message(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    if stream.read_u8().await.ok()? != TEXT_IN_ONE_FRAME {
        return None;
    }
    let length = match stream.read_u8().await.ok()? {
        LENGTH_FOLLOWS => stream.read_u16().await.ok()?,
        length if length < LENGTH_FOLLOWS => length.into(),
        _ => return None,
    };
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn short_and_longer_messages_are_read() {
        let short = b"\x81\x02{}, and the next message";
        assert_eq!(first_message(&mut &short[..]).await.unwrap(), b"{}");
        let mut longer = b"\x81\x7e\x01\x00".to_vec();
        longer.extend_from_slice(&[b' '; 256]);
        assert_eq!(first_message(&mut &longer[..]).await.unwrap(), [b' '; 256]);
        for other in [&b"\x81\x05{}"[..], b"\x01\x02{}", b"\x81\x7f", b""] {
            assert_eq!(first_message(&mut &other[..]).await, None);
        }
    }
}
