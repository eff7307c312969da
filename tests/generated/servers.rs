//! `docs/development/servers.md`, from the table of capabilities and the tests that each server passes.

use std::fmt::Write;

use super::assert_up_to_date;
use crate::contract::servers::TESTS;
use crate::lab::Server;
use crate::lab::capability::{
    CHECKSUMS, Capabilities, Condition, Encryption, Keys, NoUploads, Unverified,
};

const TOP: &str = "\
<!-- Written by scripts/generate from tests/lab/capability.rs and tests/contract/servers.rs. Change those files, not this one. -->

# Servers

The agent's tests start these S3 servers and use them as Home Assistant does. Garage, Swift, Ceph and SeaweedFS run with every
change; rclone, JuiceFS and moto run every night.

## What differs

The servers differ in these features. The tests assert each cell on the real server, so a wrong cell fails a test. Another version,
or another configuration, may differ.
";

const SAME: &str = "
## What each of them does

Each server passes all of these tests. A name that leaves a choice, such as \"refused or ignored\", asserts the cell above.
";

/// Rows of one server's column.
fn column(capabilities: Capabilities) -> Vec<(String, &'static str)> {
    // A capability without a row does not compile.
    let Capabilities {
        checks_region,
        keys,
        keeps_backslashes,
        aes256,
        sse_c,
        no_uploads,
        verifies_signature,
        verifies,
        unverified,
        if_none_match,
        range_status,
    } = capabilities;
    let mut rows = vec![
        ("Checks the region of a signature", yes(checks_region)),
        (
            "Access keys",
            match keys {
                Keys::HavePermissions => "with permissions",
                Keys::OwnerOnly => "the owner's only",
                Keys::Unchecked => "not checked",
            },
        ),
        ("Keeps backslashes in names", yes(keeps_backslashes)),
        ("`encryption = \"AES256\"`", encryption(aes256)),
        ("`encryption = \"SSE-C\"`", encryption(sse_c)),
        (
            "Lists unfinished uploads",
            match no_uploads {
                NoUploads::Empty => "yes",
                NoUploads::NotFound => "after the first",
            },
        ),
        (
            "Honours `If-None-Match` on a write",
            yes(if_none_match == Condition::Honoured),
        ),
        (
            "Status of a range",
            match range_status {
                206 => "206",
                200 => "200",
                other => panic!("{other} is no status of a range"),
            },
        ),
    ]
    .into_iter()
    .map(|(feature, cell)| (feature.to_owned(), cell))
    .collect::<Vec<_>>();
    let automatic = "`checksum = \"auto\"` without a preset becomes";
    rows.push((automatic.to_owned(), capabilities.automatic()));
    let signature = "Verifies the SHA-256 in the signature";
    rows.push((signature.to_owned(), yes(verifies_signature)));
    for checksum in CHECKSUMS {
        let feature = format!("Verifies `x-amz-checksum-{checksum}`");
        let unverified = match unverified {
            Unverified::Dropped => "no",
            Unverified::Repeated => "no, repeats it",
        };
        let is_verified = verifies.contains(&checksum);
        rows.push((feature, if is_verified { "yes" } else { unverified }));
    }
    rows
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn encryption(encryption: Encryption) -> &'static str {
    match encryption {
        Encryption::Applied => "yes",
        Encryption::Refused => "refused",
    }
}

fn document() -> String {
    let columns = Server::ALL.map(|server| column(server.capabilities()));
    let names = Server::ALL.map(Server::name).join(" | ");
    let mut text = format!(
        "{TOP}\n| | {names} |\n|---{}|\n",
        "|---".repeat(columns.len())
    );
    for row in 0..columns[0].len() {
        let cells = columns.each_ref().map(|column| column[row].1).join(" | ");
        let _ = writeln!(text, "| {} | {cells} |", columns[0][row].0);
    }
    text += SAME;
    text.push('\n');
    for test in TESTS {
        let words = test.replace('_', " ");
        let (first, rest) = words.split_at(1);
        let _ = writeln!(text, "- {}{rest}", first.to_uppercase());
    }
    text
}

#[test]
fn servers_reference_is_current() {
    assert_up_to_date("docs/development/servers.md", |_| document());
}
