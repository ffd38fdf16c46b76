"""HTML that a notebook's output or text may bring onto the site.

What is kept is listed here; everything else goes. So these are stripped, in any spelling, closed or not:
- with all that is in them: scripts, styles, frames, objects, templates, pictures and formulas as code (svg, math);
- any other element that is not in `KEPT` (forms, inputs, links to style sheets, ...), but not the text in it;
- comments, declarations and processing instructions;
- event handlers (onclick, onerror, ...) and every attribute that is not in `ATTRIBUTES`;
- addresses that are not a path, a part of a page, http, https or mailto; a picture from elsewhere, as a page of ours
  fetches nothing;
- styles that load something or leave their place.
An element that was not closed is closed, and an end without a beginning goes: no output can leave its box.
"""
import re
from html import escape
from html.parser import HTMLParser

KEPT = set("a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure "
           "h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp section small span strong sub summary sup "
           "table tbody td tfoot th thead tr u ul var wbr".split())
WITH_CONTENT = set("applet audio canvas frameset iframe math noembed noframes noscript object plaintext script select "
                   "style svg template textarea title video xmp".split())
VOID = {"br", "col", "hr", "img", "wbr"}
ATTRIBUTES = set("align alt class colspan dir halign height href id lang name open rel role rowspan scope span src "
                 "start style title type valign width".split())
LOADS_OR_MOVES = r"url|expression|import|position|behavio|binding|[@\\<&]"
SCHEMES = {"http", "https", "mailto"}


def address(value, picture):
    "Whether a link, or a picture, may point there."
    plain = re.sub(r"[\x00-\x20\x7f-\xa0\u2028\u2029]", "", value).replace("\\", "/").lower()
    scheme = re.match(r"([^/?#]*?):", plain)
    if not picture: return not scheme or scheme[1] in SCHEMES
    return bool(re.match(r"data:image/(png|jpeg|gif|webp);base64,", plain)) or not (scheme or plain.startswith("//"))


def keeps(name, value):
    "Whether an attribute stays."
    if name not in ATTRIBUTES and not name.startswith(("data-", "aria-")): return False
    if name in ("href", "src"): return address(value or "", name == "src")
    if name == "style": return not re.search(LOADS_OR_MOVES, value or "", re.I)
    return True


class Sanitiser(HTMLParser):
    "Writes again what may stay."

    def __init__(self):
        super().__init__(convert_charrefs=False)
        self.out, self.open, self.inside, self.depth = [], [], "", 0

    def handle_starttag(self, tag, attrs):
        if self.inside:
            self.depth += tag == self.inside
        elif tag in WITH_CONTENT:
            self.inside, self.depth = tag, 1
        elif tag in KEPT:
            said = "".join(f" {k}" if v is None else f' {k}="{escape(v)}"' for k, v in attrs if keeps(k, v))
            self.out.append(f"<{tag}{said}>")
            if tag not in VOID: self.open.append(tag)

    def handle_endtag(self, tag):
        if self.inside:
            self.depth -= tag == self.inside
            if not self.depth: self.inside = ""
        elif tag in self.open:
            while (last := self.open.pop()) != tag: self.out.append(f"</{last}>")
            self.out.append(f"</{tag}>")

    def handle_data(self, data):
        if not self.inside: self.out.append(data.replace("<", "&lt;"))

    def handle_entityref(self, name): self.handle_data(f"&{name};")
    def handle_charref(self, name): self.handle_data(f"&#{name};")


def sanitised(text):
    "The HTML that may stay on a page; see above for what goes."
    s = Sanitiser()
    s.feed(text)
    s.close()
    return "".join([*s.out, *(f"</{tag}>" for tag in reversed(s.open))])
