import {
  elementScroll,
  observeElementOffset,
  observeElementRect,
  Virtualizer,
  type VirtualItem,
} from '@tanstack/virtual-core';
import type { RefObject } from 'preact';
import { useLayoutEffect, useReducer, useState } from 'preact/hooks';

/** Which rows of a scrolled list to render; rows may have any height and are measured once rendered. */
export interface VirtualRows {
  readonly items: readonly VirtualItem[];
  readonly totalSize: number;
  readonly measure: (element: HTMLElement | null) => void;
}

export function useVirtualRows(options: {
  readonly count: number;
  readonly scroller: RefObject<HTMLElement | null>;
  readonly estimatedHeight: number;
  readonly keyOf: (index: number) => string;
}): VirtualRows {
  const [, render] = useReducer((n: number) => n + 1, 0);
  const settings = {
    count: options.count,
    getScrollElement: () => options.scroller.current,
    estimateSize: () => options.estimatedHeight,
    getItemKey: options.keyOf,
    overscan: 8,
    scrollToFn: elementScroll,
    observeElementRect,
    observeElementOffset,
    onChange: () => render(undefined),
  };
  const [virtualizer] = useState(() => new Virtualizer<HTMLElement, HTMLElement>(settings));
  virtualizer.setOptions(settings);
  // The library's own hooks for frameworks carry an underscore.
  // oxlint-disable-next-line no-underscore-dangle
  useLayoutEffect(() => virtualizer._didMount(), [virtualizer]);
  // oxlint-disable-next-line no-underscore-dangle
  useLayoutEffect(() => virtualizer._willUpdate());
  return {
    items: virtualizer.getVirtualItems(),
    totalSize: virtualizer.getTotalSize(),
    measure: virtualizer.measureElement,
  };
}
