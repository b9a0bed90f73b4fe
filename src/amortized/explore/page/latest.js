"use strict";

// Questions to a backend of which only the newest matters: at most one is on its way, and what was asked meanwhile waits in a
// place for one. Answers are taken in the order of their questions, and none after `cancel`.
class Latest {
  // ask(question) -> promise of an answer; take(answer, question); fail(error); calm: milliseconds without a newer question
  constructor(ask, take, fail, calm = 0) {
    Object.assign(this, {ask, take, fail, calm, waiting: null, busy: false, age: 0, timer: 0, asked: 0});
  }

  push(...question) {
    this.waiting = question;
    clearTimeout(this.timer);
    if (this.calm) this.timer = setTimeout(() => this.run(), this.calm);
    else this.run();
  }

  cancel() {
    this.age += 1;
    this.waiting = null;
    clearTimeout(this.timer);
  }

  get idle() {
    return !this.busy && this.waiting === null;
  }

  async run() {
    if (this.busy || this.waiting === null) return;
    this.busy = true;
    const {waiting: question, age} = this;
    this.waiting = null;
    this.asked += 1;
    try {
      const answer = await this.ask(...question);
      if (age === this.age) this.take(answer, ...question);
    } catch (error) {
      if (age === this.age) this.fail(error);
    }
    this.busy = false;
    this.run();
  }
}
