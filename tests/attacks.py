"""What strangers type where they are asked for a name: texts that would run as markup, or load something."""

# Of this machine, where nobody answers: a test that fails asks nobody else.
ELSEWHERE = "127.0.0.1:9"

ATTACKS = [
    '"><script>xss()</script><img src=x onerror=xss()>',
    "</title></textarea></noscript></template><svg onload=xss()>",
    "' autofocus onfocus='xss()' x='",
    "--><iframe srcdoc='<script>parent.xss()</script>'></iframe><!--",
    f"</script><script src=//{ELSEWHERE}/x.js></script>",
    f"<style>@import '//{ELSEWHERE}/x.css';</style><link rel=stylesheet href=//{ELSEWHERE}/y.css>",
    f"<a id=gallery href=javascript:xss()>x</a><base href=//{ELSEWHERE}/>",
    "<math><mtext><table><mglyph><style><img src onerror=xss()>",
    "&lt;img src=x onerror=xss()&gt;&#60;svg onload=xss()&#62;",
    "{{ 7 * 7 }}{% raw %}${xss()}<%= 7 * 7 %>#{7*7}",
    "javascript:xss()",
    f"](javascript:xss()) ![x](http://{ELSEWHERE}/x.png",
    f"[/img][url=javascript:xss()][img]http://{ELSEWHERE}/x.png",
    "<meta http-equiv=refresh content='0;url=javascript:xss()'>",
    "a\\`*_~[]<>|& 'quoted' \"twice\" مثال 🎉",
    "word " * 9 + "long" * 40,  # attacks only the layout
]
# The same in the length and letters of a tag.
TAGS = [attack.lower()[:50].strip() for attack in ATTACKS]
# What an address may have in it, and a template or a page could mistake for its own.
EMAIL = "o'{{7*7}}&lt`$x`=%3cb%3e@example.com"

# Runs before the scripts of a page: whatever of the above runs is remembered.
WATCH = """
  window.ran = [];
  for (const name of ["xss", "alert", "confirm", "prompt", "print"]) window[name] = () => { ran.push(name); };
"""
# What is not of ours, and would be there if a text had become markup.
MADE = """[...document.querySelectorAll(
  "script:not([src]), style:not(.swagger-ui style), iframe, base, math, meta[http-equiv], img[src$='/x'], img[src='']"
)].concat([...document.querySelectorAll("*")].filter((one) => [...one.attributes].some(({name, value}) =>
  name.startsWith("on") || (["href", "src", "action"].includes(name) && /^\\s*javascript:/i.test(value))
))).map((one) => one.outerHTML.slice(0, 200))"""
# All that can be read on a page, or heard, and is in its fields.
SHOWN = """(() => {
  const all = (selector, take) => [...document.querySelectorAll(selector)].map(take);
  const fields = all("input, textarea, option", (one) => one.value);
  const labels = all("[aria-label]", (one) => one.ariaLabel);
  return [document.title, document.body.textContent, ...fields, ...labels].join("\\n");
})()"""
