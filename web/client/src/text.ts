/**
 * Text as the wire counts it: in Unicode code points.
 *
 * The one rule: a pair of surrogates is one character, and is never cut in two.
 */

/** How many characters there are in `text`. */
export function size(text: string): number {
  let pairs = 0;
  for (let i = 1; i < text.length; i++) if (isPair(text, i)) pairs++;
  return text.length - pairs;
}

/** The first `chars` characters of `text`. */
export function head(text: string, chars: number): string {
  if (chars <= 0) return "";
  let end = 0;
  for (let left = chars; left > 0 && end < text.length; left--) end += isPair(text, end + 1) ? 2 : 1;
  return text.slice(0, end);
}

/** `text` without its last `chars` characters. */
export function withoutTail(text: string, chars: number): string {
  let end = text.length;
  for (let left = chars; left > 0 && end > 0; left--) end -= isPair(text, end - 1) ? 2 : 1;
  return text.slice(0, end);
}

/** How many bytes `text` takes as UTF-8. */
export function bytes(text: string): number {
  let sum = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    sum += unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
    if (isPair(text, i)) sum -= 2; // three for each half, four for both
  }
  return sum;
}

/** Whether the code unit at `i` is the second half of a pair. */
function isPair(text: string, i: number): boolean {
  return (text.charCodeAt(i) & 0xfc00) === 0xdc00 && (text.charCodeAt(i - 1) & 0xfc00) === 0xd800;
}
