//! The events stream.

use serde_json::Value;
use tokio::time::timeout;

use super::TIMEOUT;

/// An open events stream.
pub(crate) struct Events {
    answer: reqwest::Response,
    text: Vec<u8>,
}

impl Events {
    /// Opens the stream and reads `hello`.
    pub(super) async fn open(answer: reqwest::Response) -> Self {
        let mut events = Self {
            answer,
            text: Vec::new(),
        };
        let hello = events.next().await.unwrap();
        assert_eq!(hello["type"], "hello");
        assert!(!hello["instance_id"].as_str().unwrap().is_empty());
        events
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = timeout(TIMEOUT, self.answer.chunk())
                .await
                .expect("no event comes");
            self.text.extend_from_slice(&chunk.ok().flatten()?);
        }
    }

    /// All events up to the first that satisfies `is_last`.
    pub(crate) async fn until(&mut self, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the stream ended after {events:#?}"));
            events.push(event);
            if is_last(&events[events.len() - 1]) {
                return events;
            }
        }
    }

    /// The upload event with this state.
    pub(crate) async fn upload(&mut self, state: &str) -> Value {
        let mut events = self
            .until(|event| event["type"] == "upload" && event["state"] == state)
            .await;
        events.pop().unwrap()
    }
}
