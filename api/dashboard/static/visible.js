// Which objects of a video are shown, as this browser remembers it: of each prompt all but some, or
// none but some.

export class Visible {
  #key;
  #rules; // by prompt: { isShown, others: IDs of the exceptions }

  constructor(job) {
    this.#key = `shoal:shown:${job}`;
    try {
      this.#rules = new Map(JSON.parse(localStorage.getItem(this.#key) ?? "[]"));
    } catch {
      this.#rules = new Map(); // nothing is kept here, or it was written by something else
    }
  }

  get isAll() {
    return [...this.#rules.values()].every(({ isShown, others }) => isShown && !others.length);
  }

  has(prompt, id) {
    const { isShown, others } = this.#rule(prompt);
    return isShown !== others.includes(id);
  }

  set(prompt, id, isShown) {
    const rule = this.#rule(prompt);
    const others = rule.others.filter((each) => each !== id);
    if (isShown !== rule.isShown) others.push(id);
    this.#change(prompt, { isShown: rule.isShown, others });
  }

  setAll(prompt, isShown) {
    this.#change(prompt, { isShown, others: [] });
  }

  #rule(prompt) {
    return this.#rules.get(prompt) ?? { isShown: true, others: [] };
  }

  #change(prompt, rule) {
    this.#rules.set(prompt, rule);
    try {
      if (this.isAll) localStorage.removeItem(this.#key);
      else localStorage.setItem(this.#key, JSON.stringify([...this.#rules]));
    } catch {
      // It is full, or not allowed: the choice lasts as long as the page.
    }
  }
}
