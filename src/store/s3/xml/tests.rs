use super::*;

fn objects(xml: &str) -> Page<Listed> {
    Objects::read(xml.as_bytes()).unwrap()
}

#[test]
fn keys_arrive_byte_for_byte() {
    let page = objects(
        r#"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
        <Contents><Key>p/backups/a+b%2B%23%25%5B%22%C3%A4%F0%9F%98%80.tar</Key><Size>7</Size><ETag>"x"</ETag></Contents>
        <Contents><Key>p/backups/a%2F%2Fb.tar</Key><Size>1</Size></Contents></ListBucketResult>"#,
    );
    let [Ok(object), Err(unreachable)] = &page.items[..] else {
        panic!("{page:?}")
    };
    assert_eq!(object.key.as_str(), "p/backups/a b+#%[\"ä😀.tar");
    assert_eq!(unreachable, "p/backups/a%2F%2Fb.tar");
    assert_eq!(page.next, None);
}

#[test]
fn web_page_or_half_a_listing_is_no_empty_bucket() {
    for (text, word) in [
        ("<html><body>Welcome</body></html>", "not a listing"),
        ("", "not a listing"),
        (
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "no token",
        ),
        (
            "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken/></ListBucketResult>",
            "no token",
        ),
    ] {
        let error = Objects::read(text.as_bytes()).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
    let empty = objects("<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"/>");
    assert!(empty.items.is_empty());
}

#[test]
fn server_without_encoding_is_read_literally() {
    let page = objects(
        "<ListBucketResult><Contents><Key>a+b&amp;c.tar</Key><Size>1</Size><LastModified>t</LastModified></Contents></ListBucketResult>",
    );
    let object = page.items[0].as_ref().unwrap();
    assert_eq!(
        (object.key.as_str(), object.version.as_str()),
        ("a+b&c.tar", "t")
    );
}

#[test]
fn list_of_parts_names_the_stored_ones() {
    let page = Parts::read(
        br"<ListPartsResult><Bucket>b</Bucket><NextPartNumberMarker>2</NextPartNumberMarker><IsTruncated>true</IsTruncated>
        <Part><PartNumber>1</PartNumber><LastModified>t</LastModified><ETag>&quot;abc&quot;</ETag><Size>7</Size></Part>
        <Part><PartNumber>2</PartNumber><ETag></ETag><Size>8</Size></Part></ListPartsResult>",
    )
    .unwrap();
    assert_eq!(
        page.next,
        Some(vec![("part-number-marker", "2".to_owned())])
    );
    let [first, second] = &page.items[..] else {
        panic!("{page:?}")
    };
    assert!(first.is("\"abc\"", 7) && first.is("<e_tag>\"abc\"</e_tag>", 7));
    assert!(!first.is("\"abc\"", 8) && !first.is("\"abd\"", 7) && !second.is("\"\"", 8));
}

#[test]
fn list_of_uploads_gives_keys_byte_for_byte_and_the_next_page() {
    let page = Uploads::read(
        br"<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
        <NextKeyMarker>p/backups/a+%23</NextKeyMarker><NextUploadIdMarker>u2</NextUploadIdMarker>
        <Upload><Key>p/backups/a+%23.tar</Key><UploadId>u1</UploadId><Initiated>2026-11-20T04:47:12.000Z</Initiated></Upload>
        <Upload><Key>p/backups/young.tar</Key><UploadId>u2</UploadId></Upload>
        <Upload><Key>q/a%2F%2Fb.tar</Key><UploadId>u3</UploadId><Initiated>2026-11-20T04:47:12Z</Initiated></Upload>
        </ListMultipartUploadsResult>",
    )
    .unwrap();
    let [leftover] = &page.items[..] else {
        panic!("{page:?}")
    };
    assert_eq!(
        (leftover.key.as_str(), leftover.upload_id()),
        ("p/backups/a #.tar", Some("u1"))
    );
    let next = [("key-marker", "p/backups/a #"), ("upload-id-marker", "u2")];
    let next = next.map(|(name, value)| (name, value.to_owned())).to_vec();
    assert_eq!(page.next, Some(next));
}

#[test]
fn other_documents_are_no_list_of_uploads() {
    for text in ["", "<html>Welcome</html>", "<ListMultipartUploadsResult>"] {
        assert!(Uploads::read(text.as_bytes()).is_err(), "{text}");
    }
    let last = Uploads::read(
        b"<ListMultipartUploadsResult><NextKeyMarker>a</NextKeyMarker></ListMultipartUploadsResult>",
    );
    assert_eq!(last.unwrap().next, None);
}

#[test]
fn completion_names_each_part() {
    let parts = ["\"a\"", "b&c"].map(|e_tag| Part {
        number: 0,
        e_tag: e_tag.to_owned(),
    });
    assert_eq!(
        completion(&parts).unwrap(),
        "<CompleteMultipartUpload><Part><ETag>\"a\"</ETag><PartNumber>1</PartNumber></Part>\
         <Part><ETag>b&amp;c</ETag><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>"
    );
}
