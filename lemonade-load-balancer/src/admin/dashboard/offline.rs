//! The dashboard as one file that opens from a disk, with no network: style sheets inline, modules as `data:` URLs that an import
//! map names, and what it shows as base64 of gzip.

use super::assets::{ALL, Asset};
use std::fmt::Write as _;

/// The file may run what is in it, and load nothing at all.
const POLICY: &str = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline' data:; \
                      style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">";

/// `data`: gzip of the JSON that the page shows. Cost: linear; for 1 MB about 1.7 MB of text and a few milliseconds.
pub(in crate::admin) fn page(data: &[u8]) -> String {
    let mut styles = String::new();
    let mut modules: Vec<String> = Vec::new();
    for asset in &ALL[1..] {
        match asset.path.ends_with(".css") {
            true => styles.push_str(asset.text),
            false => modules.push(module(asset)),
        }
    }
    let imports = modules.join(",");
    let mut head = String::with_capacity(imports.len() + styles.len() + 1024);
    // Writing to a string does not fail.
    let _ = write!(
        head,
        "{POLICY}<style>{styles}</style><script type=\"importmap\">{{\"imports\":{{{imports}}}}}</script>\
         <script type=\"module\">import \"main.js\";</script>"
    );
    let (before, after) = around_links(ALL[0].text);
    let (body, end) = after.rsplit_once("</body>").unwrap_or((after, ""));
    let data = base64(data);
    format!(
        "{before}{head}{body}<script type=\"text/plain\" id=\"dump\">{data}</script></body>{end}"
    )
}

/// The page before its links to style sheets and modules, and after them.
fn around_links(page: &str) -> (&str, &str) {
    let (before, rest) = page
        .split_once("<link rel=\"stylesheet\"")
        .unwrap_or((page, ""));
    let after = rest.split_once("</script>").map_or("", |(_, after)| after);
    (before, after)
}

/// An entry of the import map. A `data:` URL is no base for relative names, so modules name each other without `./` here.
fn module(asset: &Asset) -> String {
    let name = asset.path.rsplit('/').next().unwrap_or_default();
    let text = asset.text.replace("from \"./", "from \"");
    let url = base64(text.as_bytes());
    format!("\"{name}\":\"data:text/javascript;base64,{url}\"")
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) & 63;
            text.push(match place <= three.len() {
                true => char::from(ALPHABET[six as usize]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn page_is_whole_and_names_nothing_outside_of_it() {
        let page = page(b"data");
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        assert!(page.contains("id=\"dump\">ZGF0YQ=="));
        assert!(page.contains("id=\"verdict\"") && page.contains("\"main.js\":"));
        for outside in ["href=\"dashboard/", "src=\"dashboard/", "src=\"http"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
