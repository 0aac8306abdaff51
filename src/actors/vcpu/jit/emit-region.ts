/**
 * Writes the function of a region: its blocks nested as structure.ts says, each charged at its start as the interpreter
 * charges it, and the ways from block to block.
 */
import type { DecodedInsn } from '../decoded-block.ts';
import type { Value } from '../isa/code.ts';
import { type Helpers, lookUpJump, pendingRequests } from '../isa/core-helpers.ts';
import type { Branch } from '../isa/emitter.ts';
import { type Form, formOf } from '../isa/forms.ts';
import { emitInstruction } from '../isa/semantics.ts';
import { START, UOP } from '../isa/uop.ts';
import { type FunctionBody, I32, type Label } from '../isa/wasm-module.ts';
import { quietForm, seenFlags } from './flags-analysis.ts';
import { howToDo } from './how-to-do.ts';
import { isIndirect, lastInsn, type Region, type RegionBlock, returnSite } from './region.ts';
import { RegionCode } from './region-code.ts';
import { RegionEmitter } from './region-emitter.ts';
import { type Node, type Structure, structureOf } from './structure.ts';

export interface RegionPlace {
  /** Index in the handlers' table that the function will have. */
  readonly handler: number;
  readonly helpers: Helpers;
}

export interface EmittedRegion {
  /** RIPs of the blocks it can be entered at, by entry number. */
  readonly entries: readonly bigint[];
  /** Of the blocks that loops begin with; a function that is called twice is none. */
  readonly loops: readonly bigint[];
}

export function emitRegion(fn: FunctionBody, region: Region, place: RegionPlace): EmittedRegion {
  const writer = new RegionWriter(fn, region, place);
  writer.write();
  const called = calledBlocks(region);
  const loops = writer.structure.loops.filter((rip) => !called.has(rip));
  return { entries: writer.structure.entries, loops };
}

/** Where calls go and return to. */
function calledBlocks({ blocks }: Region): Set<bigint> {
  const called = new Set<bigint>();
  for (const { block, taken, predicted } of blocks.values()) {
    const site = returnSite(block);
    if (site === null) continue;
    for (const rip of [site, taken, ...predicted]) if (rip !== null) called.add(rip);
  }
  return called;
}

class RegionWriter {
  readonly structure: Structure;
  readonly #fn: FunctionBody;
  readonly #region: Region;
  readonly #place: RegionPlace;
  readonly #code: RegionCode;
  readonly #forms = new Map<bigint, readonly Form[]>();
  /** Heads of loops that are open, and ends of blocks in front of merges. */
  readonly #heads = new Map<Node, Label>();
  readonly #ends = new Map<Node, Label>();

  constructor(fn: FunctionBody, region: Region, place: RegionPlace) {
    this.#fn = fn;
    this.#region = region;
    this.#place = place;
    const edges = new Map<bigint, bigint[]>();
    let comesBack = false;
    for (const [rip, member] of region.blocks) {
      const targets = [member.next, member.taken, ...member.predicted];
      edges.set(
        rip,
        targets.filter((to): to is bigint => to !== null && region.blocks.has(to)),
      );
      if (isIndirect(member.block)) comesBack = true;
    }
    this.structure = structureOf({ entries: region.entries, edges, comesBack });
    const forms = new Map(
      [...region.blocks].map(([rip, { block }]) => [rip, block.insns.map(({ insn }) => formOf(insn))]),
    );
    const entries = new Set(this.structure.entries);
    const stops = (rip: bigint): boolean => entries.has(rip) || this.structure.nodes.get(rip)!.isLoop;
    const seen = seenFlags(region, forms, stops);
    for (const [rip, each] of forms) {
      const flags = seen.get(rip)!;
      this.#forms.set(
        rip,
        each.map((form, index) => quietForm(form, flags[index]!)),
      );
    }
    this.#code = new RegionCode(fn, place.helpers);
  }

  write(): void {
    this.#tree(this.structure.root);
    this.#code.finish();
  }

  /** A node with all that it dominates. */
  #tree(node: Node): void {
    const fn = this.#fn;
    if (node.isLoop) this.#heads.set(node, fn.loop());
    this.#within(
      node,
      node.children.filter((child) => child.isMerge),
      0,
    );
    if (node.isLoop) fn.end();
  }
  #within(node: Node, merges: readonly Node[], from: number): void {
    const merge = merges[from];
    if (merge === undefined) {
      if (node.rip === null) this.#root();
      else this.#block(node, this.#region.blocks.get(node.rip)!);
      return;
    }
    this.#ends.set(merge, this.#fn.block());
    this.#within(node, merges, from + 1);
    this.#fn.end();
    this.#code.known = null;
    this.#tree(merge);
  }

  /** Chooses the entry that the start record names. */
  #root(): void {
    const code = this.#code;
    this.#mayStop(code.start);
    code.store(4, code.start, START.USED, code.i32(1));
    code.known = null;
    const targets = this.structure.entries.map((rip) => this.structure.nodes.get(rip)!);
    if (targets.length === 1) {
      this.#tree(targets[0]!);
      return;
    }
    code.entry.put();
    const labels = targets.map((target) => this.#ends.get(target)!);
    this.#fn.jumpTable(labels.slice(0, -1), labels.at(-1)!);
  }

  /**
   * Where control may have gone round: the interpreter takes over if there is a request, or if what is left of the budget
   * might not last until the next such place. It goes block by block.
   */
  #mayStop(start: Value): void {
    const code = this.#code;
    code.if(pendingRequests(code, code.cpu), () => code.exitToStart(start));
    code.if(code.budget.ltS(this.#region.count), () => code.exitToStart(start));
  }

  #block(node: Node, member: RegionBlock): void {
    const code = this.#code;
    const { block } = member;
    code.sseChecked = false;
    if (node.isLoop) {
      code.known = null;
      this.#mayStop(code.i32(block.start));
    }
    code.budget.assign(code.budget.sub(block.count));
    const forms = this.#forms.get(block.rip)!;
    const branching = {
      branch: (branch: Branch) => this.#branch(node, member, branch),
      jump: (rip: Value) => this.#jump(node, member, rip),
    };
    for (const [index, at] of block.insns.entries()) {
      const e = new RegionEmitter(code, forms[index]!, at, branching);
      switch (howToDo(e.form)) {
        case 'inline':
          // What follows a branch is written inside of it, with locals of its own.
          if (index === block.insns.length - 1) emitInstruction(e);
          else this.#fn.scope(() => emitInstruction(e));
          break;
        case 'by its handler':
          this.#callHandler(at);
          break;
        case 'by the interpreter':
          e.giveUp();
          return;
      }
    }
  }

  /** The interpreter's own handler does the instruction. Anywhere but to the next record, it has left. */
  #callHandler({ record }: DecodedInsn): void {
    const code = this.#code;
    code.storeLater();
    code.goOn.assign(code.call(I32, code.helpers.callHandler, code.i32(record), code.cpu));
    code.if(code.goOn.ne(record + UOP.bytes), () => code.out(code.goOn));
    code.loadLater();
    code.known = null;
  }

  #branch(from: Node, { block, taken, next }: RegionBlock, branch: Branch): void {
    const rip = branch === 'taken' ? taken : next;
    if (rip === null) throw new Error(`${lastInsn(block).insn.op} goes nowhere`);
    if (this.structure.nodes.has(rip)) this.#goTo(from, rip);
    else this.#exitTo(rip, lastInsn(block).record, branch);
  }

  /** Along an edge within the region. */
  #goTo(from: Node, rip: bigint): void {
    const code = this.#code;
    const to = this.structure.nodes.get(rip)!;
    if (this.structure.goesByRoot(from, to)) {
      code.start.assign(code.i32(this.#region.blocks.get(rip)!.block.start));
      code.entry.assign(code.i32(this.structure.entries.indexOf(rip)));
      this.#fn.jump(this.#heads.get(this.structure.root)!);
    } else if (to.order <= from.order) {
      this.#fn.jump(this.#heads.get(to)!);
    } else if (to.isMerge) {
      this.#fn.jump(this.#ends.get(to)!);
    } else {
      const before = code.known;
      this.#tree(to);
      code.known = before;
    }
  }

  /** A direct branch out of the region goes by the interpreter's link. */
  #exitTo(rip: bigint, record: number, branch: Branch): void {
    const link = record + (branch === 'taken' ? UOP.at.LINK_TAKEN : UOP.at.LINK_NEXT);
    this.#code.exitByLink(link, rip);
  }

  /** To an address that only running tells. What the jump cache knows of it may be an entry of this region. */
  #jump(from: Node, { block, predicted }: RegionBlock, rip: Value): void {
    const code = this.#code;
    const target = code.let(rip);
    for (const likely of predicted) code.if(target.eq(likely), () => this.#goTo(from, likely));
    const record = code.let(lookUpJump(code, code.cpu, target));
    code.if(record.isZero(), () => code.exitToRip(lastInsn(block).record, target));
    code.if(code.load(I32, 2, record, UOP.at.HANDLER).eq(this.#place.handler), () => {
      code.start.assign(record);
      code.entry.assign(code.load(I32, 4, record, START.ENTRY));
      this.#fn.jump(this.#heads.get(this.structure.root)!);
    });
    code.exit(record);
  }
}
