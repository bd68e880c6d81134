//! Any bytes as an answer's head: never a panic, and what passes is read the same way by another parser.

#![no_main]

use lemonade_load_balancer::internals::Rewriter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut rewriter, mut out) = (Rewriter::default(), Vec::new());
    if rewriter.response(bytes, &mut out).is_none() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(&out) {
        Ok(httparse::Status::Complete(length)) => assert_eq!(length, out.len(), "bytes behind the head"),
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(&out)),
    }
    // What is written anew has fields of ours besides, which may be more than we take from others.
    let again = rewriter.response(&out, &mut Vec::new());
    assert!(again == Some(out.len()) || response.headers.len() > 100, "a head that we would refuse");
    assert_eq!(response.version, Some(1));
    let count = |name: &str| response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert!(count("content-length") == 0 || count("transfer-encoding") == 0);
    assert!(count("transfer-encoding") <= 1);
    assert!(count("connection") <= 1 && (count("connection") == 0 || count("upgrade") > 0), "a field that ends at this hop");
    for ends_here in ["keep-alive", "proxy-connection"] {
        assert_eq!(count(ends_here), 0, "{ends_here}");
    }
});
